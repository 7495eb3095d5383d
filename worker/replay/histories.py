"""Conversations as they are learned from: turns, episodes, rewards and what they count; knows no tokens, no tensors."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.conversations import ConversationState
from core.domain.metrics import REWARD, Level
from core.domain.sampling import Learnable
from core.outcomes.earning import earned_by
from core.storage.models import Conversation, Episode, Turn
from core.storage.repositories import agents, conversations
from worker.replay.config import ReplayConfig
from worker.replay.drawing import Drawn, draw
from worker.replay.outliers import Fences, fences_of


@dataclass(frozen=True, slots=True)
class History:
    """One conversation: its turns in order, the episode and the effective reward of each."""

    conversation: Conversation
    turns: Sequence[Turn]
    episodes: Sequence[Episode]
    rewards: Sequence[float]
    is_told_whole: bool = False
    """Whether an outcome speaks of the conversation as a whole: then it is over, whatever ended it."""
    weight: float = 1.0
    """What it counts because few of its kind get an outcome."""

    @property
    def is_finished(self) -> bool:
        """Whether what its last turn earned is known."""
        return self.conversation.state is ConversationState.MATURED

    @property
    def teaches(self) -> bool:
        usable = self.turns if self.is_finished else self.turns[:-1]
        return any(turn.learnable is not Learnable.NONE for turn in usable)

    def is_new(self, since: datetime | None) -> bool:
        """Whether its outcome, or a change of it, came after a time."""
        matured_at = self.conversation.matured_at
        return self.is_finished and (since is None or (matured_at is not None and matured_at > since))


@dataclass(frozen=True, slots=True)
class Read:
    """What a run learns from, and how it was drawn."""

    histories: Sequence[History]
    drawn: Drawn
    fences: Fences | None
    """The rewards that are believed; None believes all."""


async def read_histories(
    session: AsyncSession, agent_id: UUID, config: ReplayConfig, *, since: datetime | None, chance: Random
) -> Read:
    """The conversations drawn that have something to teach, in order of preference. The transaction must be of one
    snapshot: else an outcome that is withdrawn between two queries would be read as a zero."""
    drawn = await draw(session, agent_id, config, since=since, chance=chance)
    metrics = [metric for metric in await agents.list_metrics(session, agent_id) if metric.counts] or [REWARD]
    told = {row.id: row for row in await conversations.list_by_id(session, drawn.parts)}
    episodes = {episode.id: episode for episode in await conversations.list_episodes_of(session, told)}
    earned = await earned_by(session, list(told.values()))
    weights = _weights(told.values(), config.max_outcome_weight)
    histories = [
        History(
            told[place],
            earned[place].turns,
            [episodes[turn.episode_id] for turn in earned[place].turns],
            earned[place].rewards,
            earned[place].is_told_whole,
            weights.get(place, 1.0),
        )
        for place in drawn.parts
        if place in earned
    ]
    # What a turn may yet be found to be worth is no zero: where turns are judged, unfinished conversations wait.
    turns_are_judged = any(metric.level is Level.TURN for metric in metrics)
    usable = [each for each in histories if each.teaches and (each.is_finished or not turns_are_judged)]
    is_bounded = all(metric.is_bounded for metric in metrics)
    return Read(usable, drawn, None if is_bounded else _fences(usable, config.outlier_spreads))


def _fences(histories: Iterable[History], spreads: float | None) -> Fences | None:
    rewards = [reward for history in histories if history.is_finished for reward in history.rewards]
    return None if spreads is None else fences_of(rewards, spreads)


def _weights(told: Iterable[Conversation], most: float) -> dict[UUID, float]:
    """1 / p of each that has an outcome, over their mean, between 1 / most and most; p is the chance of having one."""
    inverse = {
        conversation.id: 1 / conversation.outcome_chance
        for conversation in told
        if conversation.state is ConversationState.MATURED and conversation.outcome_chance
    }
    mean = sum(inverse.values()) / max(1, len(inverse))
    return {place: min(max(value / mean, 1 / most), most) for place, value in inverse.items()}
