"""Which turn or conversation an outcome speaks of, among those that its key may see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.domain.errors import InvalidValueError, NockError, NotFoundError
from core.storage.repositories import turns
from core.storage.repositories.conversations import Name
from core.storage.repositories.turns import Place
from service.conversations.finding import find_conversations
from service.feedback.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Target:
    """`turn_id` None means the conversation as a whole."""

    agent_id: UUID
    conversation_id: UUID
    turn_id: UUID | None


async def find_targets(
    session: AsyncSession, seen: Mapping[UUID, str], outcomes: Sequence[Outcome]
) -> list[Target | NockError]:
    """Of each outcome, in order: what it speaks of, or the error that says why that cannot be told.

    `seen` are the agents that the key may see, by id.
    """
    said = await _find_turns(session, outcomes)
    asked = [(one.conversation_id, one.agent) for one in outcomes if one.conversation_id is not None]
    found = dict(zip(asked, await find_conversations(session, seen, asked), strict=True))
    targets: list[Target | NockError] = []
    for one in outcomes:
        turn = said.get(one.turn_id) if one.turn_id is not None else None
        conversation = found[one.conversation_id, one.agent] if one.conversation_id is not None else None
        targets.append(_target(one, turn, conversation, seen))
    return targets


async def _find_turns(session: AsyncSession, outcomes: Sequence[Outcome]) -> dict[str, Place]:
    parsed = {one.turn_id: ids.parse(ids.Prefix.TURN, one.turn_id) for one in outcomes if one.turn_id is not None}
    wanted = {turn_id: name for name, turn_id in parsed.items() if turn_id is not None}
    return {wanted[turn.id]: turn for turn in await turns.list_places(session, wanted)} if wanted else {}


def _target(
    outcome: Outcome, turn: Place | None, conversation: Name | NockError | None, seen: Mapping[UUID, str]
) -> Target | NockError:
    if outcome.turn_id is not None:
        agent = seen.get(turn.agent_id) if turn is not None else None
        if turn is None or agent is None or outcome.agent not in (None, agent):
            return NotFoundError(f"There is no turn {outcome.turn_id}.", code="turn_not_found", param="turn_id")
        if conversation is None:
            return Target(turn.agent_id, turn.conversation_id, turn.id)
    if isinstance(conversation, NockError):
        return conversation
    if conversation is None:
        return InvalidValueError("Name a conversation_id, a turn_id or both.", param="turn_id")
    if turn is not None and turn.conversation_id != conversation.id:
        return InvalidValueError("The turn is not one of this conversation.", code="turn_elsewhere", param="turn_id")
    return Target(conversation.agent_id, conversation.id, None if turn is None else turn.id)
