"""One turn: find its place, have the engine speak without a transaction open, record exactly what was sampled."""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from core.domain import feedback_tokens, ids
from core.domain.adapters import AdapterName, parse_adapter_name
from core.domain.conversations import Message, storable
from core.domain.errors import EngineError, NotAllowedError, NotFoundError
from core.domain.keys import Key, Scope
from core.engine.generation import Generation
from core.erasure.tombstones import gone, was_erased
from core.storage.models import Agent, Conversation, Turn
from core.storage.repositories import adapters, conversations, turns
from core.storage.repositories.rollouts import Route
from service import metrics
from service.chat import identity, observing, recording
from service.chat.generating import complete
from service.chat.placing import Repetition, place_turn
from service.gateway import Gateway
from service.limits.admission import Admission

LIMITS = ("max_tokens", "max_completion_tokens")

PLAIN_SAMPLING = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
"""Said to the engine where neither client nor agent does: else the model's own defaults would apply unseen."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a client wants, whichever route it came by."""

    model: str
    messages: list[Message]
    arrived: float
    """When, by the monotonic clock."""
    conversation: str | None = None
    end_user: str | None = None
    tags: dict[str, str] | None = None
    engine_fields: dict[str, Any] | None = None
    top_logprobs: int | None = None
    store: bool = True


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """A turn that has its place and its version but no reply yet. `place` None means that nothing is kept of it."""

    id: UUID
    route: Route
    adapter: AdapterName
    place: identity.Place | None
    heads: identity.Heads
    body: dict[str, Any]
    admission: Admission
    arrived: float
    feedback_token: str | None
    """What lets the browser that gets the reply say how good it was."""

    @property
    def public_id(self) -> str:
        return ids.public(ids.Prefix.TURN, self.id)

    @property
    def conversation(self) -> UUID | None:
        return None if self.place is None else self.place.conversation_id

    @property
    def headers(self) -> dict[str, str]:
        headers = {"X-Turn-Id": self.public_id, "X-Adapter": str(self.adapter)}
        if self.place is not None:
            headers["X-Conversation-Id"] = ids.public(ids.Prefix.CONVERSATION, self.place.conversation_id)
        return headers | _token_header(self.feedback_token) | dict(self.admission.headers)


@dataclass(frozen=True, slots=True)
class Repeated:
    """A turn that was answered before; the client asks for it again."""

    turn: Turn
    adapter: AdapterName
    admission: Admission
    feedback_token: str | None

    @property
    def headers(self) -> dict[str, str]:
        headers = {
            "X-Turn-Id": ids.public(ids.Prefix.TURN, self.turn.id),
            "X-Adapter": str(self.adapter),
            "X-Conversation-Id": ids.public(ids.Prefix.CONVERSATION, self.turn.conversation_id),
        }
        return headers | _token_header(self.feedback_token) | dict(self.admission.headers)


def _token_header(token: str | None) -> dict[str, str]:
    return {} if token is None else {"X-Feedback-Token": token}


def find_route(gateway: Gateway, key: Key, model: str) -> tuple[Route, AdapterName | None]:
    """The agent that `model` names, and the version where it pins one; both only as far as the key may see and use."""
    pinned = parse_adapter_name(model)
    agent = pinned.agent if pinned else model
    if not key.sees(agent):
        raise NotFoundError(f"There is no agent {agent!r}.", code="model_not_found", param="model")
    needed = Scope.ADMIN if pinned else Scope.CHAT
    if not key.has([needed]):
        raise NotAllowedError(f"This key lacks the scope {needed}.")
    return gateway.routing.get(agent), pinned


async def open_turn(gateway: Gateway, key: Key, ask: Ask) -> OpenTurn | Repeated:
    """Give the turn its place, committed before the engine is called, or find that it was answered before.

    Its admission is settled, whatever comes; that of an open turn by whoever has it answered.
    """
    route, pinned_name = find_route(gateway, key, ask.model)
    admission = await gateway.limits.admit(key, route.agent, ask.end_user)
    turn = None
    try:
        turn = await _place(gateway, key, ask, route, pinned_name, admission)
    finally:
        if not isinstance(turn, OpenTurn):
            await admission.settle(0)
    return turn


async def _place(
    gateway: Gateway, key: Key, ask: Ask, route: Route, pinned: AdapterName | None, admission: Admission
) -> OpenTurn | Repeated:
    agent = route.agent
    speaker = identity.Speaker(agent.id, key.id, storable(ask.end_user), ask.conversation, storable(ask.tags or {}))
    messages = storable(ask.messages)
    heads = identity.Heads.of(speaker, messages)
    place = None
    if ask.store:
        place = await place_turn(gateway, route, speaker, heads, messages, pinned)
    elif pinned is not None:
        async with gateway.database.transaction() as session:
            await adapters.get_version(session, pinned)
    if isinstance(place, Repetition):
        return Repeated(place.turn, place.adapter, admission, _feedback_token(gateway, agent, place.turn.id))
    adapter = place.adapter if place else (pinned or route.stable)
    turn_id = ids.new_id()
    token = None if place is None else _feedback_token(gateway, agent, turn_id)
    body = _engine_body(route, adapter, ask)
    return observing.opened(OpenTurn(turn_id, route, adapter, place, heads, body, admission, ask.arrived, token))


def _feedback_token(gateway: Gateway, agent: Agent, turn_id: UUID) -> str | None:
    if agent.browser_metric is None:
        return None
    return feedback_tokens.issue(gateway.signer, turn_id, agent.browser_metric, datetime.now(UTC))


def _engine_body(route: Route, adapter: AdapterName, ask: Ask) -> dict[str, Any]:
    """The engine's request: the agent's defaults under the client's wishes, and what Nock must know of the reply."""
    agent, fields = route.agent, ask.engine_fields or {}
    defaults = PLAIN_SAMPLING | agent.sampling
    if "max_completion_tokens" in fields or "max_tokens" in fields:  # two names of one limit: the client's stands
        defaults = {name: value for name, value in defaults.items() if name not in LIMITS}
    messages = ask.messages
    if agent.system_prompt and not any(message["role"] in ("system", "developer") for message in messages):
        messages = [{"role": "system", "content": agent.system_prompt}, *messages]
    return (
        defaults
        | fields
        | {
            "model": agent.base_model if adapter.number == 0 else str(adapter),
            "messages": messages,
            "logprobs": True,
            "top_logprobs": ask.top_logprobs or 0,
            "return_token_ids": True,
        }
    )


async def answer(gateway: Gateway, turn: OpenTurn) -> tuple[dict[str, Any], OpenTurn]:
    """The engine's whole answer, recorded; and the turn, which may have become a branch while it was generated."""
    started, tokens = time.monotonic(), 0
    try:
        raw, generation = await complete(gateway, turn.route, turn.adapter, turn.body, conversation=turn.conversation)
        tokens = generation.token_usage()["total_tokens"]
    except EngineError as error:
        observing.failed(turn, error.code)
        raise
    finally:
        await turn.admission.settle(tokens)
    timing = recording.Timing(time.monotonic() - started, None)
    return raw, await record(gateway, turn, generation, timing)


async def record(gateway: Gateway, turn: OpenTurn, generation: Generation, timing: recording.Timing) -> OpenTurn:
    """Commit the turn; where another turn took its place first, it is a branch."""
    if turn.place is not None:
        with metrics.COMMIT_SECONDS.time():
            place = await recording.commit(
                gateway, turn.id, turn.route.agent, turn.place, turn.heads, turn.body, generation, timing
            )
        turn = replace(turn, place=place)
    observing.answered(turn, generation, timing)
    return turn


async def history(gateway: Gateway, key: Key, agent: str, conversation: str) -> tuple[list[Message], str | None]:
    """What was said so far in a conversation whose history the service keeps, and by whom; nothing for a new one."""
    route, _ = find_route(gateway, key, agent)
    async with gateway.database.transaction() as session:
        own = ids.parse(ids.Prefix.CONVERSATION, conversation)
        found: Conversation | None
        if own is None:
            found = await conversations.find_conversation(session, route.agent.id, conversation)
        else:
            found = await conversations.find_conversation_by_id(session, own)
        if found is None and await was_erased(session, gateway.signer, route.agent.id, conversation):
            raise gone("conversation")
        if found is None or found.agent_id != route.agent.id:
            return [], None
        rows = await turns.list_turns(session, found.id)
    said: list[Message] = []
    head: bytes | None = None
    for row in rows:
        if row.previous_head != head:
            said = []  # this turn came with a history of its own
        said += [*row.messages, row.reply]
        head = row.head_hash
    return said, found.end_user
