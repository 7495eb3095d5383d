"""Which conversations teach: those whose outcome came last, up to a number; knows no tokens and no tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.sampling import Learnable
from core.outcomes.earning import earned_by
from core.storage.models import Conversation, Episode, Turn
from core.storage.repositories import conversations


@dataclass(frozen=True, slots=True)
class History:
    """One matured conversation: its turns in order, the episode and the effective reward of each."""

    conversation: Conversation
    turns: Sequence[Turn]
    episodes: Sequence[Episode]
    rewards: Sequence[float]

    @property
    def teaches(self) -> bool:
        return any(turn.learnable is not Learnable.NONE for turn in self.turns)

    def is_new(self, since: datetime | None) -> bool:
        """Whether its outcome, or a change of it, came after a time."""
        matured_at = self.conversation.matured_at
        return since is None or (matured_at is not None and matured_at > since)


async def sample_histories(session: AsyncSession, agent_id: UUID, *, limit: int) -> list[History]:
    """The agent's matured conversations with something to learn from, newest outcome first."""
    matured = await conversations.list_matured(session, agent_id, limit=limit)
    listed = await conversations.list_episodes_of(session, [conversation.id for conversation in matured])
    episodes = {episode.id: episode for episode in listed}
    earned = await earned_by(session, matured)
    histories = [
        History(
            conversation,
            earned[conversation.id].turns,
            [episodes[turn.episode_id] for turn in earned[conversation.id].turns],
            earned[conversation.id].rewards,
        )
        for conversation in matured
        if conversation.id in earned
    ]
    return [history for history in histories if history.teaches]
