"""vLLM's routes, and nothing that decides."""

import asyncio
import logging
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from engine.cards import model_cards
from engine.errors import EngineDeadError, InvalidInputError
from engine.schemas import ChatCompletionRequest, LoadLoraAdapterRequest, UnloadLoraAdapterRequest
from engine.serving import Engine
from engine.streaming import ReplyStream, whole_unless_gone

log = logging.getLogger("engine")
router = APIRouter()


def engine_of(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


EngineDep = Annotated[Engine, Depends(engine_of)]


@router.post("/v1/chat/completions")
async def create_chat_completion(body: ChatCompletionRequest, request: Request, engine: EngineDep) -> Response:
    reply = await engine.begin(body)

    def abandon() -> None:
        engine.scheduler.abandon(reply.generation)

    if body.stream:
        return ReplyStream(reply, abandon)
    try:
        return await whole_unless_gone(request, reply)
    finally:
        abandon()


@router.post("/v1/load_lora_adapter")
async def load_lora_adapter(body: LoadLoraAdapterRequest, engine: EngineDep) -> Response:
    if body.load_inplace:
        raise InvalidInputError("This engine never loads a name in place: give the new version a name of its own.")
    await asyncio.to_thread(engine.adapters.load, body.lora_name, body.lora_path)
    log.info("loaded adapter %s from %s", body.lora_name, body.lora_path)
    return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' added successfully.")


@router.post("/v1/unload_lora_adapter")
async def unload_lora_adapter(body: UnloadLoraAdapterRequest, engine: EngineDep) -> Response:
    adapter = await asyncio.to_thread(engine.adapters.unload, body.lora_name)
    engine.scheduler.forget(adapter)
    log.info("unloaded adapter %s", body.lora_name)
    return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' removed successfully.")


@router.get("/v1/models")
async def list_models(engine: EngineDep) -> dict[str, Any]:
    return model_cards(engine)


@router.get("/health")
@router.get("/ping")
@router.post("/ping")
async def health(engine: EngineDep) -> Response:
    if not engine.scheduler.is_alive:
        raise EngineDeadError("The decode loop has died: restart the engine.")
    return Response()


@router.get("/version")
async def show_version() -> dict[str, str]:
    return {"version": engine_version()}


@router.get("/metrics")
async def metrics(engine: EngineDep) -> Response:
    return Response(generate_latest(engine.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def engine_version() -> str:
    try:
        return version("nock")
    except PackageNotFoundError:
        return "0"
