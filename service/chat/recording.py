"""Write a finished turn: what was said, the tokens as sampled, and whether they may teach; one commit."""

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from core.domain import ids
from core.domain.conversations import extend_head, storable
from core.domain.episodes import EpisodeEnd
from core.domain.sampling import learnability
from core.domain.tokens import pack
from core.engine.generation import TRUNCATED, Generation
from core.erasure.tombstones import was_erased
from core.outcomes import settling
from core.storage.models import Agent
from core.storage.repositories import conversations
from core.storage.turn_log.connections import cursor_of
from core.storage.turn_log.writing import Finished, write
from service.chat.identity import Heads, Place, branch_off
from service.gateway import Gateway

NOT_SAMPLING = {
    "model",
    "messages",
    "logprobs",
    "top_logprobs",
    "return_token_ids",
    "stream",
    "stream_options",
    "tools",
}
"""Fields of the engine's request that say nothing about the distribution of tokens."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds from the request to the engine: to its last token, and to its first where it streamed."""

    engine: float
    first_token: float | None


async def commit(
    gateway: Gateway,
    turn_id: UUID,
    agent: Agent,
    place: Place,
    heads: Heads,
    body: dict[str, Any],
    generation: Generation,
    timing: Timing,
) -> Place:
    """Write the turn at its place, or at a branch's where another turn took the place first."""
    finished = _finished(gateway, turn_id, place, heads, body, generation, timing)
    if place.turn_count + 1 >= agent.max_turns or not await gateway.turns.writing.ask(finished):
        place = await _commit_carefully(gateway, agent, place, finished)
    gateway.tokens.remember(place.conversation_id, turn_id, generation.prompt_ids + generation.completion_ids)
    return place


async def _commit_carefully(gateway: Gateway, agent: Agent, place: Place, finished: Finished) -> Place:
    """The same for a turn that lost the race for its place, whose conversation somebody else is changing, or that is
    the last which its episode may have."""
    await _open_again_if_lost(gateway, place)
    async with gateway.database.transaction() as session:
        await conversations.lock_conversation(session, place.conversation_id)
        async with cursor_of(session) as cursor:
            if not all(await write(cursor, [finished])):
                place = await branch_off(session, place)
                await write(cursor, [_moved(finished, place)])
        if place.turn_count + 1 >= agent.max_turns:
            conversation = await conversations.lock_conversation(session, place.conversation_id)
            await settling.end(session, conversation, EpisodeEnd.CAP)
    return place


async def _open_again_if_lost(gateway: Gateway, place: Place) -> None:
    """A conversation is opened without waiting for the disk: a Postgres that broke down may have forgotten it."""
    if place.opening is None:
        return
    public = ids.public(ids.Prefix.CONVERSATION, place.conversation_id)
    async with gateway.database.transaction() as session:
        is_there = await conversations.find_conversation_by_id(session, place.conversation_id) is not None
        if is_there or await was_erased(session, gateway.signer, place.agent_id, public):
            return
    await gateway.turns.opening.ask(place.opening)


def _moved(finished: Finished, place: Place) -> Finished:
    return replace(
        finished,
        conversation_id=place.conversation_id,
        episode_id=place.episode_id,
        turn_index=place.index,
        turn_count=place.turn_count,
    )


def _finished(
    gateway: Gateway,
    turn_id: UUID,
    place: Place,
    heads: Heads,
    body: dict[str, Any],
    generation: Generation,
    timing: Timing,
) -> Finished:
    reply = storable(generation.message())
    finish_reason = generation.finish_reason or TRUNCATED
    sampling = {name: value for name, value in body.items() if name not in NOT_SAMPLING}
    learnable = learnability(
        body,
        prompt=len(generation.prompt_ids),
        tokens=len(generation.completion_ids),
        logprobs=len(generation.logprobs),
        finish_reason=finish_reason,
    )
    previous_id, previous = gateway.tokens.latest(place.conversation_id)
    packed = pack(generation.prompt_ids, generation.completion_ids, generation.logprobs, previous)
    return Finished(
        turn_id=turn_id,
        turn_count=place.turn_count,
        agent_id=place.agent_id,
        conversation_id=place.conversation_id,
        episode_id=place.episode_id,
        turn_index=place.index,
        messages=place.messages,
        reply=reply,
        finish_reason=finish_reason,
        usage=generation.token_usage(),
        sampling=storable(sampling),
        learnable=learnable.who,
        learnable_reason=learnable.reason,
        previous_head=heads.history,
        request_hash=heads.request,
        head_hash=extend_head(heads.request, [reply]),
        engine_seconds=timing.engine,
        first_token_seconds=timing.first_token,
        prefix_turn_id=previous_id if packed.prefix_length else None,
        prefix_length=packed.prefix_length,
        prompt_tail=packed.prompt_tail,
        completion=packed.completion,
        logprobs=packed.logprobs,
        checksum=packed.checksum,
    )
