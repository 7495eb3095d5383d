"""Move conversations through their states: open, awaiting, matured or expired. The caller holds the rows' locks."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.conversations import ConversationState
from core.domain.episodes import EpisodeEnd
from core.domain.maturity import next_change, state_after
from core.domain.metrics import Metric
from core.domain.outcome_chances import CERTAIN, kind_of
from core.domain.rewards import Fold, fold
from core.storage.models import Conversation
from core.storage.repositories import agents, clock, conversations, outcome_chances, rewards


async def fold_of(session: AsyncSession, conversation: Conversation) -> Fold:
    """The effective rewards of a conversation by its agent's metrics of today."""
    declared = await metrics_of(session, [conversation])
    # Not when the transaction began: who ended in it would have waited less than nothing.
    return (await folds_of(session, [conversation], declared, await clock.instant(session)))[conversation.id]


@dataclass(frozen=True, slots=True)
class Declared:
    """An agent's metrics, and the reward version that they are of, or a later one's."""

    metrics: Sequence[Metric]
    reward_version: int


async def metrics_of(session: AsyncSession, told: Iterable[Conversation]) -> dict[UUID, Declared]:
    """The metrics of today of each agent that is spoken of."""
    found = await agents.list_declared(session, {conversation.agent_id for conversation in told})
    return {agent: Declared(metrics, version) for agent, (version, metrics) in found.items()}


async def end(session: AsyncSession, conversation: Conversation, ended_by: EpisodeEnd) -> None:
    """End the conversation's open episode and await the outcome. Ending what has ended changes nothing."""
    if conversation.state is ConversationState.OPEN:
        now = await clock.instant(session)
        news = await close(session, [conversation], ended_by, now)
        await settle(session, [conversation], await metrics_of(session, [conversation]), now, news=news)


async def close(
    session: AsyncSession, told: Sequence[Conversation], ended_by: EpisodeEnd, now: datetime
) -> Collection[UUID]:
    """End the open ones without settling them; gives back which of those have turns that nobody learned from yet."""
    ending = [conversation for conversation in told if conversation.state is ConversationState.OPEN]
    if not ending:
        return set()
    places = [conversation.id for conversation in ending]
    with_turns = await conversations.count_turns_of_newest(session, places)
    await conversations.end_episodes(session, places, ended_by)
    agents_of = {conversation.agent_id for conversation in ending}
    # An outcome that ends its conversation has come: nothing is to be estimated, or read for it.
    chances = {} if ended_by is EpisodeEnd.FINAL else await outcome_chances.list_chances(session, agents_of)
    for conversation in ending:
        kind = kind_of(ended_by, with_turns.get(conversation.id, 0))
        conversation.state = ConversationState.AWAITING
        conversation.closed_at = now
        conversation.outcome_chance = (
            CERTAIN if ended_by is EpisodeEnd.FINAL else chances.get((conversation.agent_id, kind))
        )
    return {conversation for conversation, turns in with_turns.items() if turns}


async def settle(
    session: AsyncSession,
    told: Sequence[Conversation],
    declared: Mapping[UUID, Declared],
    now: datetime,
    *,
    news: Collection[UUID],
) -> None:
    """Let what has ended mature once its outcome is known, wait again when that was withdrawn, or expire.

    `news` are those whose turns or reward changed by what was said. They, and those whose reward time has changed, are
    new to the learner; what has taught already comes first.
    """
    folds = await folds_of(session, told, declared, now)
    for conversation in told:
        waited = _waited(conversation, now)
        if waited is None:
            if conversation.id in news:
                conversation.matured_at = None  # its end makes it new, though no turn may come before that
                conversation.changed_at = None if conversation.taught_at is None else now
            continue
        folded, of_agent = folds[conversation.id], declared[conversation.agent_id]
        # What fell due either changes the state or pays for what is missing.
        is_due = conversation.due_at is not None and conversation.due_at <= now
        conversation.state = state_after(folded, of_agent.metrics, waited)
        is_news = conversation.id in news or is_due
        if conversation.state is not ConversationState.MATURED:
            conversation.matured_at = None
        elif is_news or conversation.matured_at is None:
            conversation.matured_at = now
        if is_news and conversation.taught_at is not None:
            conversation.changed_at = now
        change = next_change(folded, of_agent.metrics, waited, conversation.state)
        conversation.due_at = None if change is None else now - waited + change
        conversation.reward_version = of_agent.reward_version
    await session.flush()


def _waited(conversation: Conversation, now: datetime) -> timedelta | None:
    """How long ago it ended; None while it is open."""
    if conversation.state is ConversationState.OPEN or conversation.closed_at is None:
        return None
    return now - conversation.closed_at


async def folds_of(
    session: AsyncSession, told: Sequence[Conversation], declared: Mapping[UUID, Declared], now: datetime
) -> dict[UUID, Fold]:
    """The effective rewards of each."""
    lines = await rewards.ledgers_of(session, [conversation.id for conversation in told])
    return {
        conversation.id: fold(
            lines.get(conversation.id, ()),
            declared[conversation.agent_id].metrics,
            waited=_waited(conversation, now),
        )
        for conversation in told
    }
