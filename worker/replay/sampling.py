"""Which conversations teach: those whose outcome came last, up to a number; knows no tokens and no tensors."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.rewards import fold, rewards_of_turns
from core.domain.sampling import Learnable
from core.storage.models import Conversation, Episode, Turn
from core.storage.repositories import agents, conversations, rewards, turns


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
    ids = [conversation.id for conversation in matured]
    episodes = {episode.id: episode for episode in await conversations.list_episodes_of(session, ids)}
    metrics = await agents.list_metrics(session, agent_id)
    spoken: dict[UUID, list[Turn]] = defaultdict(list)
    for turn in await turns.list_turns_of(session, ids):
        spoken[turn.conversation_id].append(turn)
    said = defaultdict(list)
    for entry in await rewards.list_entries_of(session, ids):
        said[entry.conversation_id].append(entry)
    histories = []
    for conversation in matured:
        if its_turns := spoken[conversation.id]:
            folded = fold(rewards.as_entries(said[conversation.id]), metrics)
            earned = rewards_of_turns(folded, [turn.id for turn in its_turns])
            histories.append(History(conversation, its_turns, [episodes[t.episode_id] for t in its_turns], earned))
    return [history for history in histories if history.teaches]
