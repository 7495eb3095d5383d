"""What the turns of conversations have earned by now, for who learns from them and for who asks what changed since."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.conversations import ConversationState
from core.domain.rewards import rewards_of_turns
from core.outcomes.settling import folds_of, metrics_of
from core.storage.models import Conversation, Turn
from core.storage.repositories import clock, conversations, learner, turns

CHANGED = 1e-9
"""Rewards closer than this are the same sum, added in another order."""


@dataclass(frozen=True, slots=True)
class Earned:
    """A conversation's turns in order, and the reward paid after each."""

    turns: Sequence[Turn]
    rewards: Sequence[float]


@dataclass(frozen=True, slots=True)
class Taught:
    """A turn that a run learned from: what it earned then, and now; None where its outcome is not known any more."""

    turn_id: UUID
    conversation_id: UUID
    trained_actor: bool
    reward_then: float
    reward_now: float | None

    @property
    def changed(self) -> bool:
        return self.reward_now is None or abs(self.reward_now - self.reward_then) > CHANGED


async def earned_by(session: AsyncSession, told: Sequence[Conversation]) -> dict[UUID, Earned]:
    """Of each conversation that has turns, by its agent's metrics of today."""
    folds = await folds_of(session, told, await metrics_of(session, told), await clock.now(session))
    spoken: dict[UUID, list[Turn]] = defaultdict(list)
    for turn in await turns.list_turns_of(session, folds):
        spoken[turn.conversation_id].append(turn)
    return {
        conversation: Earned(said, rewards_of_turns(folds[conversation], [turn.id for turn in said]))
        for conversation, said in spoken.items()
    }


async def taught_to(session: AsyncSession, run_id: UUID) -> list[Taught]:
    """Every turn that the run learned from, oldest first."""
    lessons = await learner.list_run_turns(session, run_id)
    told = await conversations.list_by_id(session, {conversation for _, conversation in lessons})
    known = [conversation for conversation in told if conversation.state is ConversationState.MATURED]
    now = {
        turn.id: reward
        for earned in (await earned_by(session, known)).values()
        for turn, reward in zip(earned.turns, earned.rewards, strict=True)
    }
    return [
        Taught(lesson.turn_id, conversation, lesson.trained_actor, lesson.reward, now.get(lesson.turn_id))
        for lesson, conversation in lessons
    ]
