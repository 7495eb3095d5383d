"""Move conversations through their states: open, awaiting, matured or expired. The caller holds the rows' locks."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.conversations import ConversationState
from core.domain.episodes import EpisodeEnd
from core.domain.maturity import next_change, state_after
from core.domain.metrics import Metric
from core.domain.rewards import Fold, fold
from core.storage.models import Conversation, RewardEntry
from core.storage.repositories import agents, clock, conversations, rewards


async def fold_of(session: AsyncSession, conversation: Conversation) -> Fold:
    """The effective rewards of a conversation by its agent's metrics of today."""
    declared = await metrics_of(session, [conversation])
    return (await folds_of(session, [conversation], declared, await clock.now(session)))[conversation.id]


@dataclass(frozen=True, slots=True)
class Declared:
    """An agent's metrics, and the reward version that they are of, or a later one's."""

    metrics: Sequence[Metric]
    reward_version: int


async def metrics_of(session: AsyncSession, told: Iterable[Conversation]) -> dict[UUID, Declared]:
    """The metrics of today of each agent that is spoken of."""
    # The version first: metrics that change in between are stamped too old and settled once more, never too new.
    versions = await agents.reward_versions(session, {conversation.agent_id for conversation in told})
    return {agent: Declared(await agents.list_metrics(session, agent), version) for agent, version in versions.items()}


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
    with_turns = await conversations.list_spoken_in(session, places)
    await conversations.end_episodes(session, places, ended_by)
    for conversation in ending:
        conversation.state = ConversationState.AWAITING
        conversation.closed_at = now
    return set(with_turns)


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
    new to the learner.
    """
    folds = await folds_of(session, told, declared, now)
    for conversation in told:
        waited = _waited(conversation, now)
        if waited is None:
            continue
        folded, of_agent = folds[conversation.id], declared[conversation.agent_id]
        # What fell due either changes the state or pays for what is missing.
        is_due = conversation.due_at is not None and conversation.due_at <= now
        conversation.state = state_after(folded, of_agent.metrics, waited)
        if conversation.state is not ConversationState.MATURED:
            conversation.matured_at = None
        elif conversation.id in news or is_due or conversation.matured_at is None:
            conversation.matured_at = now
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
    lines: dict[UUID, list[RewardEntry]] = defaultdict(list)
    for line in await rewards.list_entries_of(session, [conversation.id for conversation in told]):
        lines[line.conversation_id].append(line)
    return {
        conversation.id: fold(
            rewards.as_entries(lines[conversation.id]),
            declared[conversation.agent_id].metrics,
            waited=_waited(conversation, now),
        )
        for conversation in told
    }
