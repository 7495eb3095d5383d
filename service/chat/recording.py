"""Write a finished turn: what was said, the tokens as sampled, and whether they may teach; one commit."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.conversations import extend_head, storable
from core.domain.episodes import EpisodeEnd
from core.domain.sampling import learnability
from core.domain.tokens import pack
from core.engine.generation import TRUNCATED, Generation
from core.outcomes import settling
from core.storage.models import Agent, Conversation, Turn, TurnTokens
from core.storage.repositories import conversations
from service import metrics
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
    previous_id, previous = gateway.tokens.latest(place.conversation.id)
    packed = pack(generation.prompt_ids, generation.completion_ids, generation.logprobs, previous)
    async with gateway.database.transaction() as session:
        conversation = await conversations.lock_conversation(session, place.conversation.id)
        if not await conversations.claim_turn(session, place.episode.id, place.turn_count):
            place = await branch_off(session, place)
            conversation = await conversations.lock_conversation(session, place.conversation.id)
            await conversations.claim_turn(session, place.episode.id, place.turn_count)
        turn = _turn(turn_id, place, heads, body, generation, timing)
        session.add(turn)
        await session.flush()
        session.add(
            TurnTokens(
                turn_id=turn_id,
                prefix_turn_id=previous_id if packed.prefix_length else None,
                prefix_length=packed.prefix_length,
                prompt_tail=packed.prompt_tail,
                completion=packed.completion,
                logprobs=packed.logprobs,
                checksum=packed.checksum,
            )
        )
        await _advance(session, conversation, turn, place, agent)
    gateway.tokens.remember(conversation.id, turn_id, generation.prompt_ids + generation.completion_ids)
    return place


async def _advance(session: AsyncSession, conversation: Conversation, turn: Turn, place: Place, agent: Agent) -> None:
    conversation.head_hash = turn.head_hash
    conversation.last_turn_at = func.clock_timestamp()
    await session.flush()
    if place.turn_count + 1 >= agent.max_turns:
        await settling.end(session, conversation, EpisodeEnd.CAP)


def _turn(
    turn_id: UUID, place: Place, heads: Heads, body: dict[str, Any], generation: Generation, timing: Timing
) -> Turn:
    reply = storable(generation.message())
    finish_reason = generation.finish_reason or TRUNCATED
    sampling = {name: value for name, value in body.items() if name not in NOT_SAMPLING}
    learnable = learnability(
        sampling,
        tokens=len(generation.completion_ids),
        logprobs=len(generation.logprobs),
        finish_reason=finish_reason,
    )
    return Turn(
        id=turn_id,
        agent_id=place.conversation.agent_id,
        conversation_id=place.conversation.id,
        episode_id=place.episode.id,
        index=place.index,
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
    )


def count(agent: str, adapter: str, generation: Generation, timing: Timing) -> None:
    """Count the turn, kept or not."""
    usage = generation.token_usage()
    metrics.TURNS.labels(agent, adapter, generation.finish_reason or TRUNCATED).inc()
    metrics.TOKENS.labels(agent, "prompt").inc(usage["prompt_tokens"])
    metrics.TOKENS.labels(agent, "completion").inc(usage["completion_tokens"])
    metrics.ENGINE_SECONDS.labels(agent).observe(timing.engine)
    if timing.first_token is not None:
        metrics.FIRST_TOKEN_SECONDS.labels(agent).observe(timing.first_token)
