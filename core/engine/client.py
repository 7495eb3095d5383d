"""One engine: its health, its models, its adapters, its chat completions. Knows vLLM's dialect and no database."""

import io
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
from aiohttp.http_exceptions import HttpProcessingError
from opentelemetry.trace import Span, SpanKind

from core import tracing
from core.domain.errors import (
    EngineBusyError,
    EngineError,
    EngineRefusedError,
    EngineSilentError,
    EngineTimeoutError,
    EngineUnavailableError,
)
from core.settings import EngineSettings

Json = dict[str, Any]

MAX_EVENT_BYTES = 8 * 1024 * 1024
"""The longest line of a stream: one event with a long prompt's token ids."""


LARGE_BYTES = 1024 * 1024
"""A larger request is sent piece by piece, so that other requests go on meanwhile."""


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

    def __init__(self, url: str, session: aiohttp.ClientSession, settings: EngineSettings) -> None:
        self.url = url
        self.reply_seconds = settings.engine_timeout_seconds
        self.load_seconds = settings.engine_load_seconds
        self.silence_seconds = settings.engine_silence_seconds
        self._session = session
        self._connect_seconds = settings.engine_connect_seconds
        self._load = aiohttp.ClientTimeout(total=self.load_seconds, sock_connect=self._connect_seconds)
        self._check = aiohttp.ClientTimeout(total=self._connect_seconds)

    async def is_healthy(self) -> bool:
        try:
            async with self._call("GET", "/health", None, self._check):
                return True
        except EngineError:
            return False

    async def models(self) -> EngineModels:
        """The base model and the adapters that are loaded now."""
        async with self._call("GET", "/v1/models", None, self._check) as response:
            try:
                cards = orjson.loads(await response.read())["data"]
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
            async with self._call("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": path}, self._load):
                pass
        except EngineError:
            if name not in (await self.models()).adapters:  # else somebody else loaded it in between
                raise

    async def unload_adapter(self, name: str) -> None:
        """Unload a version; one that is not there is fine."""
        try:
            async with self._call("POST", "/v1/unload_lora_adapter", {"lora_name": name}, self._load):
                pass
        except EngineError:
            if name in (await self.models()).adapters:
                raise

    async def complete(self, body: Json, seconds: float | None = None) -> Json:
        """One chat completion, whole, within so many seconds (else within the time that one reply may take)."""
        limit = aiohttp.ClientTimeout(total=seconds or self.reply_seconds, sock_connect=self._connect_seconds)
        async with self._call("POST", "/v1/chat/completions", body, limit) as response:
            answer = _object(await response.read(), "something")
            if not _is_completion(answer):
                raise EngineError("The engine answered something that is no chat completion.")
            return answer

    async def stream(self, body: Json, seconds: float | None = None) -> AsyncGenerator[Json, None]:
        """The chunks of one chat completion, as they come. Closing the iterator cancels the engine's work.

        The last of them comes within so many seconds; a pause of `silence_seconds` raises EngineSilentError.
        """
        limit = aiohttp.ClientTimeout(
            total=seconds or self.reply_seconds, sock_connect=self._connect_seconds, sock_read=self.silence_seconds
        )
        finished = False
        async with self._call("POST", "/v1/chat/completions", body | {"stream": True}, limit) as response:
            while line := await response.content.readline(max_line_length=MAX_EVENT_BYTES):
                if not line.startswith(b"data:"):
                    continue
                data = line[5:].strip()
                if data == b"[DONE]":
                    finished = True
                    break
                chunk = _object(data, "an event")
                if chunk.get("error"):
                    raise EngineError(f"The engine broke off: {_message(chunk)}")
                yield chunk
        if not finished:
            raise EngineError("The engine closed the stream before its end.")

    @asynccontextmanager
    async def _call(
        self, method: str, path: str, body: Json | None, timeout: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request as a span, which the engine's own spans continue."""
        with _span(self.url, method, path, body) as span:
            async with self._request(method, path, body, timeout, tracing.carry(span)) as response:
                yield response

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, body: Json | None, timeout: aiohttp.ClientTimeout, trace: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request; what goes wrong becomes an error of ours, wherever in the answer it goes wrong."""
        data: bytes | io.BytesIO | None = None if body is None else orjson.dumps(body)
        if isinstance(data, bytes) and len(data) > LARGE_BYTES:
            data = io.BytesIO(data)
        try:
            async with self._session.request(
                method,
                self.url + path,
                data=data,
                headers={"Content-Type": "application/json", **trace},
                timeout=timeout,
            ) as response:
                if response.status != 200:
                    raise _refusal(response.status, await response.read())
                yield response
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise EngineUnavailableError("The engine does not answer.") from error
        except aiohttp.SocketTimeoutError as error:
            raise EngineSilentError("The engine has said nothing for too long.") from error
        except TimeoutError as error:
            raise EngineTimeoutError("The engine took too long.") from error
        except (aiohttp.ClientError, HttpProcessingError, ValueError) as error:
            raise EngineError("The engine broke the connection.") from error


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


def _refusal(status: int, body: bytes) -> EngineError:
    """What an answer other than 200 means."""
    param = None
    try:
        told = orjson.loads(body)
        message, param = _message(told), _param(told)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        message = f"status {status}"
    match status:
        case 404:
            return AdapterNotLoadedError(message)
        case 400 | 413 | 422:
            return EngineRefusedError(message, param=param)
        case 429 | 503:
            return EngineBusyError("The engine takes no more requests now.")
        case _:
            return EngineError(f"The engine failed: {message}")


def _message(body: Json) -> str:
    """The sentence in an engine's error, in its new shape (`error.message`) or its old one (`message`)."""
    error = body.get("error", body)
    return str(error.get("message", "no reason given") if isinstance(error, dict) else error)[:2000]


def _param(body: Json) -> str | None:
    """The field of the request that the engine finds at fault."""
    error = body.get("error")
    param = error.get("param") if isinstance(error, dict) else None
    return param if isinstance(param, str) else None
