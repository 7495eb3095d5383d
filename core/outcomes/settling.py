"""Move conversations through their states: open, awaiting an outcome, matured. The caller holds the rows' locks."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.conversations import ConversationState
from core.domain.episodes import EpisodeEnd
from core.domain.rewards import Fold, Metric, fold, is_known
from core.storage.models import Conversation, RewardEntry
from core.storage.repositories import agents, conversations, rewards


async def fold_of(session: AsyncSession, conversation: Conversation) -> Fold:
    """The effective rewards of a conversation by its agent's metrics of today."""
    metrics = await metrics_of(session, [conversation])
    return (await _folds(session, [conversation], metrics))[conversation.id]


async def metrics_of(session: AsyncSession, told: Iterable[Conversation]) -> dict[UUID, list[Metric]]:
    """The metrics of today of each agent that is spoken of."""
    return {agent: await agents.list_metrics(session, agent) for agent in sorted({row.agent_id for row in told})}


async def end(session: AsyncSession, conversation: Conversation, ended_by: EpisodeEnd) -> None:
    """End the conversation's open episode and await the outcome. Ending what has ended changes nothing."""
    if conversation.state is ConversationState.OPEN:
        news = await close(session, [conversation], ended_by)
        await settle(session, [conversation], await metrics_of(session, [conversation]), news=news)


async def close(session: AsyncSession, told: Sequence[Conversation], ended_by: EpisodeEnd) -> Collection[UUID]:
    """End the open ones without settling them; gives back which of those have turns that nobody learned from yet."""
    ending = [conversation for conversation in told if conversation.state is ConversationState.OPEN]
    places = [conversation.id for conversation in ending]
    with_turns = await conversations.list_spoken_in(session, places)
    await conversations.end_episodes(session, places, ended_by)
    for conversation in ending:
        conversation.state = ConversationState.AWAITING
        conversation.closed_at = func.now()
    return set(with_turns)


async def settle(
    session: AsyncSession,
    told: Sequence[Conversation],
    metrics: Mapping[UUID, Sequence[Metric]],
    *,
    news: Collection[UUID],
) -> None:
    """Let what has ended mature once its outcome is known, or wait again when the outcome was withdrawn.

    `news` are those whose turns or reward changed: only they count as new to the learner.
    """
    folds = await _folds(session, told, metrics)
    for conversation in told:
        if conversation.state is ConversationState.OPEN:
            continue
        known = is_known(folds[conversation.id], metrics[conversation.agent_id])
        conversation.state = ConversationState.MATURED if known else ConversationState.AWAITING
        if not known:
            conversation.matured_at = None
        elif conversation.id in news or conversation.matured_at is None:
            conversation.matured_at = func.now()
    await session.flush()


async def _folds(
    session: AsyncSession, told: Sequence[Conversation], metrics: Mapping[UUID, Sequence[Metric]]
) -> dict[UUID, Fold]:
    lines: dict[UUID, list[RewardEntry]] = defaultdict(list)
    for line in await rewards.list_entries_of(session, [conversation.id for conversation in told]):
        lines[line.conversation_id].append(line)
    return {
        conversation.id: fold(rewards.as_entries(lines[conversation.id]), metrics[conversation.agent_id])
        for conversation in told
    }
