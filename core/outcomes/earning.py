"""What the turns of conversations have earned by now, for who learns from them and for who asks what changed since."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.rewards import rewards_of_turns
from core.outcomes.settling import folds_of, metrics_of
from core.storage.models import Conversation, Turn
from core.storage.repositories import clock, conversations, learner, rewards, turns

CHANGED = 1e-9
"""Rewards closer than this are the same sum, added in another order."""


@dataclass(frozen=True, slots=True)
class Earned:
    """A conversation's turns in order, and the reward paid after each."""

    turns: Sequence[Turn]
    rewards: Sequence[float]
    is_told_whole: bool
    """Whether an outcome speaks of the conversation as a whole."""


@dataclass(frozen=True, slots=True)
class Taught:
    """A turn that a run learned from: what it earned then, and now; None where nothing is known of its conversation."""

    turn_id: UUID
    conversation_id: UUID
    trained_actor: bool
    reward_then: float | None
    """None where only what was demonstrated at it has taught."""
    reward_now: float | None
    entries: Sequence[UUID]
    """What the ledger says of the turn, and at the last turn what it says of the conversation."""

    @property
    def changed(self) -> bool:
        if self.reward_then is None:
            return False
        return self.reward_now is None or abs(self.reward_now - self.reward_then) > CHANGED


async def earned_by(session: AsyncSession, told: Sequence[Conversation]) -> dict[UUID, Earned]:
    """Of each conversation that has turns, by its agent's metrics of today."""
    folds = await folds_of(session, told, await metrics_of(session, told), await clock.instant(session))
    spoken: dict[UUID, list[Turn]] = defaultdict(list)
    for turn in await turns.list_turns_of(session, folds):
        spoken[turn.conversation_id].append(turn)
    return {
        conversation: Earned(
            said,
            rewards_of_turns(folds[conversation], [turn.id for turn in said]),
            folds[conversation].of_conversation is not None,
        )
        for conversation, said in spoken.items()
    }


async def taught_to(session: AsyncSession, run_id: UUID) -> list[Taught]:
    """Every turn that the run learned from, oldest first."""
    lessons = await learner.list_run_turns(session, run_id)
    told = await conversations.list_by_id(session, {conversation for _, conversation in lessons})
    folds = await folds_of(session, told, await metrics_of(session, told), await clock.instant(session))
    spoken = await turns.list_ids_of(session, folds)
    now = {
        turn: reward
        for conversation, said in spoken.items()
        if folds[conversation].total is not None
        for turn, reward in zip(said, rewards_of_turns(folds[conversation], said), strict=True)
    }
    entries: dict[UUID, list[UUID]] = defaultdict(list)
    for line in await rewards.list_entries_of(session, folds):
        entries[line.turn_id or spoken[line.conversation_id][-1]].append(line.id)
    return [
        Taught(turn.turn_id, place, turn.trained_actor, turn.reward, now.get(turn.turn_id), entries[turn.turn_id])
        for turn, place in lessons
    ]
