"""How many conversations of each kind came to have an outcome, and the chances estimated from that."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.conversations import ConversationState
from core.domain.outcome_chances import Decided, kind_of
from core.storage.models import Conversation, Episode, OutcomeChance


async def count_decided(
    session: AsyncSession, agent_id: UUID, *, closed_before: datetime, limit: int
) -> dict[str, Decided]:
    """By kind, of the conversations that ended last before a time: how many matured and how many matured or expired."""
    ended = (
        select(Conversation.id, Conversation.state)
        .where(
            Conversation.agent_id == agent_id,
            Conversation.state != ConversationState.OPEN,
            Conversation.closed_at < closed_before,
        )
        .order_by(Conversation.closed_at.desc())
        .limit(limit)
        .subquery()
    )
    newest = (
        select(func.max(Episode.ordinal))
        .where(Episode.conversation_id == ended.c.id)
        .correlate(ended)
        .scalar_subquery()
    )
    rows = await session.execute(
        select(ended.c.state, Episode.ended_by, Episode.turn_count).join(
            Episode, and_(Episode.conversation_id == ended.c.id, Episode.ordinal == newest)
        )
    )
    counted: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for state, ended_by, turns in rows:
        if ended_by is not None and state in (ConversationState.MATURED, ConversationState.EXPIRED):
            counted[kind_of(ended_by, turns)][0] += state is ConversationState.MATURED
            counted[kind_of(ended_by, turns)][1] += 1
    return {kind: Decided(*numbers) for kind, numbers in counted.items()}


async def store_chances(
    session: AsyncSession, agent_id: UUID, counted: Mapping[str, Decided], chances: Mapping[str, float]
) -> None:
    """Replace what was estimated before for these kinds."""
    if not counted:
        return
    rows = [
        {"agent_id": agent_id, "kind": kind, "matured": each.matured, "decided": each.decided, "chance": chances[kind]}
        for kind, each in counted.items()
    ]
    statement = insert(OutcomeChance).values(rows)
    changed = {name: statement.excluded[name] for name in ("matured", "decided", "chance")}
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["agent_id", "kind"], set_={**changed, "estimated_at": func.now()}
        )
    )


async def list_chances(session: AsyncSession, agent_ids: Collection[UUID]) -> dict[tuple[UUID, str], float]:
    """What is estimated, by agent and kind."""
    rows = await session.scalars(select(OutcomeChance).where(OutcomeChance.agent_id.in_(agent_ids)))
    return {(row.agent_id, row.kind): row.chance for row in rows}
