"""Move a conversation through its states: open, awaiting its outcome, matured. The caller holds the row's lock."""

from collections.abc import Sequence

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.conversations import ConversationState
from core.domain.episodes import EpisodeEnd
from core.domain.rewards import Fold, Metric, fold, is_known
from core.storage.models import Conversation
from core.storage.repositories import agents, conversations, rewards


async def fold_of(session: AsyncSession, conversation: Conversation) -> tuple[Fold, Sequence[Metric]]:
    """The effective rewards of a conversation by its agent's metrics of today."""
    metrics = await agents.list_metrics(session, conversation.agent_id)
    entries = rewards.as_entries(await rewards.list_entries(session, conversation.id))
    return fold(entries, metrics), metrics


async def end(session: AsyncSession, conversation: Conversation, ended_by: EpisodeEnd) -> None:
    """End the conversation's open episode and await the outcome. Ending what has ended changes nothing."""
    if conversation.state is not ConversationState.OPEN:
        return
    newest = await conversations.newest_episode(session, conversation.id)
    await conversations.end_episodes(session, conversation.id, ended_by)
    conversation.state = ConversationState.AWAITING
    conversation.closed_at = func.now()
    await settle(session, conversation, is_news=newest is not None and newest.turn_count > 0)


async def settle(session: AsyncSession, conversation: Conversation, *, is_news: bool) -> Fold:
    """Let an ended conversation mature once its outcome is known, or wait again when it was withdrawn.

    `is_news` says whether its turns or its reward changed: only then does it count as new to the learner.
    """
    folded, metrics = await fold_of(session, conversation)
    if conversation.state is not ConversationState.OPEN:
        known = is_known(folded, metrics)
        conversation.state = ConversationState.MATURED if known else ConversationState.AWAITING
        if not known:
            conversation.matured_at = None
        elif is_news or conversation.matured_at is None:
            conversation.matured_at = func.now()
    await session.flush()
    return folded
