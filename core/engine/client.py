"""One engine: its health, its models, its adapters, its chat completions. Knows vLLM's dialect and no database."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson
import structlog
from opentelemetry.trace import Span, SpanKind

from core import tracing
from core.domain.errors import (
    EngineBusyError,
    EngineError,
    EngineRefusedError,
    EngineSilentError,
)
from core.engine.connection import Connection
from core.engine.connections import Connections
from core.engine.lines import Lines
from core.settings import EngineSettings

Json = dict[str, Any]

log = structlog.get_logger()

CHAT = "/v1/chat/completions"

MOST_LOGGED = 200
"""Letters of what an engine says of a failure: enough to know it by, too few for what people said."""


class AdapterNotLoadedError(EngineError):
    """The engine does not know the model name; after an engine's restart this means: load it again."""

    code = "adapter_not_loaded"


@dataclass(frozen=True, slots=True)
class EngineModels:
    """What an engine serves: the base model, its context length, and the folder of each adapter by name."""

    base: str
    context: int | None
    adapters: dict[str, str] = field(default_factory=dict)


class EngineClient:
    """Speaks to the engine at one address."""

    def __init__(self, url: str, settings: EngineSettings) -> None:
        self.url = url
        self.reply_seconds = settings.engine_timeout_seconds
        self.load_seconds = settings.engine_load_seconds
        self.silence_seconds = settings.engine_silence_seconds
        self._check_seconds = settings.engine_connect_seconds
        self._connections = Connections(url, settings.engine_connect_seconds)
        self._replying: set[Connection] = set()
        """Where a whole reply is awaited: nothing comes of one before its end, so only health tells that none will."""

    def close(self) -> None:
        """Close what is idle; what is under way may end."""
        self._connections.close()

    async def is_healthy(self) -> bool:
        try:
            await self._ask("GET", "/health", None, self._check_seconds)
        except EngineError:
            return False
        return True

    async def models(self) -> EngineModels:
        """The base model and the adapters that are loaded now."""
        answer = await self._ask("GET", "/v1/models", None, self._check_seconds)
        try:
            cards = orjson.loads(answer)["data"]
            base = next(card for card in cards if not card.get("parent"))
            adapters = {card["id"]: card.get("root") or "" for card in cards if card.get("parent")}
            return EngineModels(base["id"], base.get("max_model_len"), adapters)
        except (KeyError, TypeError, AttributeError, StopIteration, orjson.JSONDecodeError) as error:
            raise EngineError("The engine's list of models is not one.") from error

    async def load_adapter(self, name: str, path: str) -> None:
        """Load a version under its own name; one that is there already is fine, for a version never changes."""
        if name in (await self.models()).adapters:
            return
        try:
            wanted = {"lora_name": name, "lora_path": path}
            await self._ask("POST", "/v1/load_lora_adapter", wanted, self.load_seconds)
        except EngineError:
            if name not in (await self.models()).adapters:  # else somebody else loaded it in between
                raise

    async def unload_adapter(self, name: str) -> None:
        """Unload a version; one that is not there is fine."""
        try:
            await self._ask("POST", "/v1/unload_lora_adapter", {"lora_name": name}, self.load_seconds)
        except EngineError:
            if name in (await self.models()).adapters:
                raise

    async def complete(self, body: Json, seconds: float | None = None) -> Json:
        """One chat completion, whole, within so many seconds (else within the time that one reply may take)."""
        answer = _object(await self._ask("POST", CHAT, body, seconds or self.reply_seconds), "something")
        if not _is_completion(answer):
            raise EngineError("The engine answered something that is no chat completion.")
        return answer

    async def stream(self, body: Json, seconds: float | None = None) -> AsyncGenerator[Json, None]:
        """The chunks of one chat completion, as they come. Closing the iterator cancels the engine's work.

        The last of them comes within so many seconds; a pause of `silence_seconds` raises EngineSilentError.
        """
        body = body | {"stream": True}
        with _span(self.url, "POST", CHAT, body) as span:
            connection = await self._send(
                "POST", CHAT, body, span, seconds or self.reply_seconds, silence=self.silence_seconds
            )
            is_finished = False
            try:
                await connection.head()
                if connection.status != 200:
                    raise self._refusal(connection.status, await connection.whole())
                async for data in _events(connection):
                    if data == b"[DONE]":
                        is_finished = True
                        return
                    chunk = _object(data, "an event")
                    if chunk.get("error"):
                        log.warning("engine broke off", engine=self.url, said=_message(chunk)[:MOST_LOGGED])
                        raise EngineError("The engine broke off.")
                    yield chunk
                raise EngineError("The engine closed the stream before its end.")
            finally:
                self._connections.give_back(connection, was_read=is_finished)

    def give_up_replies(self) -> None:
        """Whoever waits for a whole reply waits in vain: raises EngineSilentError there."""
        for connection in list(self._replying):
            connection.fail(EngineSilentError("The engine answers no longer."))

    async def _ask(self, method: str, path: str, body: Json | None, seconds: float) -> bytes:
        """The whole answer to one request."""
        with _span(self.url, method, path, body) as span:
            connection = await self._send(method, path, body, span, seconds)
            if path == CHAT:
                self._replying.add(connection)
            try:
                answer = await connection.whole()
            finally:
                self._replying.discard(connection)
                self._connections.give_back(connection)
            if connection.status != 200:
                raise self._refusal(connection.status, answer, is_asked_often=body is None)
            return answer

    def _refusal(self, status: int, body: bytes, *, is_asked_often: bool = False) -> EngineError:
        """What an answer other than 200 means. Only where the request is at fault are the engine's words its client's:
        others may be of its files and its code."""
        param = None
        try:
            told = orjson.loads(body)
            message, param = _message(told), _param(told)
        except (orjson.JSONDecodeError, AttributeError):
            message = f"status {status}"
        if status in (400, 413, 422):
            return EngineRefusedError(message, param=param)
        if status in (429, 503):
            return EngineBusyError("The engine takes no more requests now.")
        if not is_asked_often:
            log.warning("engine failed", engine=self.url, status=status, said=message[:MOST_LOGGED])
        if status == 404:
            return AdapterNotLoadedError("The engine does not have what it is asked for.")
        return EngineError(f"The engine failed (status {status}).")

    async def _send(
        self, method: str, path: str, body: Json | None, span: Span, seconds: float, silence: float | None = None
    ) -> Connection:
        """One request, within whose span the engine's own spans are."""
        data = b"" if body is None else orjson.dumps(body)
        head = self._head(method, path, len(data), tracing.carry(span))
        return await self._connections.send([head, data], asyncio.get_running_loop().time() + seconds, silence)

    def _head(self, method: str, path: str, length: int, trace: Mapping[str, str]) -> bytes:
        address = urlsplit(self.url)
        fields = {"Host": address.netloc, "Content-Type": "application/json", "Content-Length": str(length), **trace}
        lines = [f"{method} {address.path}{path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _events(connection: Connection) -> AsyncGenerator[bytes, None]:
    """The data of each server-sent event; the format's other fields say nothing to us."""
    lines = Lines()
    while data := await connection.more():
        for line in lines.add(data):
            if line.startswith(b"data:"):
                yield line[5:].strip()
    if (line := lines.rest()).startswith(b"data:"):
        yield line[5:].strip()


def _object(text: bytes, what: str) -> Json:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise EngineError(f"The engine sent {what} that is not JSON.") from error
    if not isinstance(found, dict):
        raise EngineError(f"The engine sent {what} that is no JSON object.")
    return found


def _is_completion(answer: Json) -> bool:
    try:
        return isinstance(answer["choices"][0]["message"], dict)
    except (KeyError, IndexError, TypeError):
        return False


def _span(url: str, method: str, path: str, body: Json | None) -> AbstractContextManager[Span]:
    if not tracing.is_on():
        return tracing.NOTHING
    address = urlsplit(url)
    attributes: dict[str, str | int] = {"server.address": address.hostname or "", "url.path": path}
    if address.port is not None:
        attributes["server.port"] = address.port
    if body is None or "messages" not in body:
        return tracing.span_apart(f"{method} {path}", attributes, SpanKind.CLIENT)
    named: dict[str, str | int] = {"gen_ai.operation.name": "chat", "gen_ai.request.model": body["model"]}
    return tracing.span_apart(f"chat {body['model']}", attributes | named, SpanKind.CLIENT)


def _message(body: Json) -> str:
    """The sentence in an engine's error, in its new shape (`error.message`) or its old one (`message`)."""
    error = body.get("error", body)
    return str(error.get("message", "no reason given") if isinstance(error, dict) else error)[:2000]


def _param(body: Json) -> str | None:
    """The field of the request that the engine finds at fault."""
    error = body.get("error")
    param = error.get("param") if isinstance(error, dict) else None
    return param if isinstance(param, str) else None
