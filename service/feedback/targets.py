"""Which turn or conversation an outcome speaks of, among those that its key may see."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.domain.erasure import Named
from core.domain.errors import InvalidValueError, NockError, NotFoundError
from core.domain.signatures import Signer
from core.erasure.tombstones import gone, list_erased
from core.storage.repositories import turns
from core.storage.repositories.conversation_names import Name
from core.storage.repositories.turns import Place
from service.conversations.finding import find_conversations
from service.feedback.outcomes import Outcome

TURN_NOT_FOUND = "turn_not_found"


@dataclass(frozen=True, slots=True)
class Target:
    """`turn_id` None means the conversation as a whole."""

    agent_id: UUID
    conversation_id: UUID
    turn_id: UUID | None


async def find_targets(
    session: AsyncSession, signer: Signer, seen: Mapping[UUID, str], outcomes: Sequence[Outcome]
) -> list[Target | NockError]:
    """Of each outcome, in order: what it speaks of, or the error that says why that cannot be told.

    `seen` are the agents that the key may see, by id.
    """
    said = await _find_turns(session, outcomes)
    asked = [(one.conversation_id, one.agent) for one in outcomes if one.conversation_id is not None]
    found = dict(zip(asked, await find_conversations(session, signer, seen, asked), strict=True))
    targets: list[Target | NockError] = []
    for one in outcomes:
        turn = said.get(one.turn_id) if one.turn_id is not None else None
        conversation = found[one.conversation_id, one.agent] if one.conversation_id is not None else None
        targets.append(_target(one, turn, conversation, seen))
    lost = {one.turn_id for one, target in zip(outcomes, targets, strict=True) if _is_lost_turn(target)}
    erased = await _find_erased_turns(session, signer, seen, lost)
    return [
        gone("turn") if _is_lost_turn(target) and one.turn_id in erased else target
        for one, target in zip(outcomes, targets, strict=True)
    ]


def _is_lost_turn(target: Target | NockError) -> bool:
    return isinstance(target, NotFoundError) and target.code == TURN_NOT_FOUND


async def _find_erased_turns(
    session: AsyncSession, signer: Signer, seen: Mapping[UUID, str], lost: Collection[str | None]
) -> set[str]:
    own = {name: parsed for name in lost if name and (parsed := ids.parse(ids.Prefix.TURN, name)) is not None}
    return await list_erased(session, signer, Named.TURN, own, seen) if own else set()


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
            return NotFoundError(f"There is no turn {outcome.turn_id}.", code=TURN_NOT_FOUND, param="turn_id")
        if conversation is None:
            return Target(turn.agent_id, turn.conversation_id, turn.id)
    if isinstance(conversation, NockError):
        return conversation
    if conversation is None:
        return InvalidValueError("Name a conversation_id, a turn_id or both.", param="turn_id")
    if turn is not None and turn.conversation_id != conversation.id:
        return InvalidValueError("The turn is not one of this conversation.", code="turn_elsewhere", param="turn_id")
    return Target(conversation.agent_id, conversation.id, None if turn is None else turn.id)
