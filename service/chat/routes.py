"""POST /v1/chat/completions, GET /v1/models and one of them, POST /chat."""

import time
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from core.domain import ids
from core.domain.conversations import Message
from core.domain.errors import NotFoundError
from core.domain.keys import Scope
from service.bodies import read_body
from service.chat import presenting, service
from service.chat.attachments import check_text
from service.chat.headers import DESCRIBED, read_conversation_id
from service.chat.schemas import ChatCompletionIn, ChatIn, ChatOut, ModelCard, ModelList
from service.chat.service import Ask, Repeated
from service.chat.streaming import EventStream, TurnStream
from service.dependencies import AnyKeyDep, ChatKeyDep, GatewayDep, key_of
from service.errors import ErrorBody, OpenAIErrorBody
from service.gateway import Gateway
from service.hanging_up import until_hang_up
from service.openapi import reading
from service.strict_route import StrictRoute

OPENAI_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": OpenAIErrorBody} for status in (400, 401, 403, 404, 410, 413, 415, 429, 502, 503, 504)
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (401, 403, 404, 410, 413, 422, 429, 502, 503, 504)
}

COMPLETIONS = "/v1/chat/completions"

router = APIRouter(tags=["chat"], route_class=StrictRoute)


ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "OpenAI's chat completion, or its chunks as server-sent events.",
        "content": {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {}},
        "headers": DESCRIBED,
    }
}


@router.post(
    COMPLETIONS,
    response_class=Response,
    responses=OPENAI_ERRORS | ANSWER,
    openapi_extra=reading(ChatCompletionIn, "X-Conversation-Id"),
)
async def complete_chat(request: Request) -> Response:
    """Answer a conversation's next message as the agent, in OpenAI's format, streamed or not."""
    arrived = time.monotonic()
    gateway: Gateway = request.app.state.gateway
    key = await key_of(gateway, request, Scope.CHAT, Scope.ADMIN)
    received = await request.body()
    check_text(received, gateway.settings.max_body_bytes)
    body = read_body(ChatCompletionIn, received)
    ask = Ask(
        model=body.model,
        messages=body.plain_messages(),
        arrived=arrived,
        conversation=read_conversation_id(request.headers.get("X-Conversation-Id")) or body.conversation_id,
        end_user=body.end_user,
        tags=body.tags,
        engine_fields=body.engine_fields(),
        top_logprobs=body.top_logprobs if body.logprobs else None,
        store=body.store is not False,
    )
    usage = body.stream_options is not None and body.stream_options.include_usage
    turn = await service.open_turn(gateway, key, ask)
    if isinstance(turn, Repeated):
        return _repeat(turn, body.model, stream=body.stream, usage=usage)
    if body.stream:
        events = TurnStream(gateway, turn, model=body.model, shown=body.shown, usage=usage).events()
        first = await until_hang_up(request.scope, anext(events))  # so that a refusal still has its own status
        return EventStream(first, events, turn.headers)
    raw, told = await until_hang_up(request.scope, service.answer(gateway, turn))
    shown = presenting.completion(raw, turn_id=told.public_id, model=body.model, shown=body.shown)
    return Response(orjson.dumps(shown), media_type="application/json", headers=told.headers)


def _repeat(turn: Repeated, model: str, *, stream: bool, usage: bool) -> Response:
    if stream:
        chunks = presenting.stored_chunks(turn.turn, model, usage=usage)
        return StreamingResponse(iter(chunks), media_type="text/event-stream", headers=turn.headers)
    whole = presenting.stored_completion(turn.turn, model)
    return Response(orjson.dumps(whole), media_type="application/json", headers=turn.headers)


@router.get("/v1/models", responses={401: {"model": OpenAIErrorBody}})
async def list_models(gateway: GatewayDep, key: AnyKeyDep) -> ModelList:
    """The agents that this key may talk to."""
    agents = [route.agent for route in gateway.routing.all() if key.sees(route.agent.name)]
    if not key.has([Scope.CHAT, Scope.ADMIN]):
        agents = []
    return ModelList(data=[ModelCard.of(agent) for agent in agents])


@router.get("/v1/models/{model:path}", responses={status: {"model": OpenAIErrorBody} for status in (401, 404)})
async def show_model(model: str, gateway: GatewayDep, key: AnyKeyDep) -> ModelCard:
    """One of the agents that this key may talk to."""
    card = next((card for card in (await list_models(gateway, key)).data if card.id == model), None)
    if card is None:
        raise NotFoundError(f"There is no agent {model!r}.", code="model_not_found", param="model")
    return card


@router.post("/chat", responses=ERRORS | {200: {"headers": DESCRIBED}})
async def chat(body: ChatIn, request: Request, gateway: GatewayDep, key: ChatKeyDep, response: Response) -> ChatOut:
    """Say one message to an agent; the service keeps the history."""
    arrived = time.monotonic()
    said: list[Message] = []
    user = body.user
    if body.conversation_id is not None:
        said, opened_by = await service.history(gateway, key, body.agent, body.conversation_id)
        user = user if user is not None else opened_by
        if not said and ids.parse(ids.Prefix.CONVERSATION, body.conversation_id):
            raise NotFoundError(
                f"There is no conversation {body.conversation_id} with this agent.", code="conversation_not_found"
            )
    messages = [*said, {"role": "user", "content": body.message}]
    ask = Ask(body.agent, messages, arrived, conversation=body.conversation_id, end_user=user)
    turn = await service.open_turn(gateway, key, ask)
    if isinstance(turn, Repeated):
        reply = turn.turn.reply
    else:
        raw, turn = await until_hang_up(request.scope, service.answer(gateway, turn))
        reply = raw["choices"][0]["message"]
    headers = turn.headers
    response.headers.update(headers)
    return ChatOut(
        conversation_id=headers["X-Conversation-Id"],
        turn_id=headers["X-Turn-Id"],
        adapter=headers["X-Adapter"],
        reply=reply.get("content") or "",
    )
