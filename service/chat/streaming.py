"""Stream a turn: forward each chunk as it comes, hold the one that says 'finished' until the turn is committed."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import structlog
from sqlalchemy.exc import DBAPIError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from core.domain.errors import NockError
from core.engine.generation import Generation
from service import metrics
from service.chat import observing, presenting
from service.chat.generating import stream
from service.chat.presenting import Shown
from service.chat.recording import Timing
from service.chat.service import OpenTurn, record
from service.errors import database_failure, error_body, status_of
from service.gateway import Gateway
from service.hanging_up import HungUpError, until_hang_up

log = structlog.get_logger()


class TurnStream:
    """One streamed turn. What came is recorded once: whole before its finish, or truncated when it broke."""

    def __init__(self, gateway: Gateway, turn: OpenTurn, *, model: str, shown: Shown, usage: bool) -> None:
        self._gateway = gateway
        self._turn = turn
        self._model = model
        self._shown = shown
        self._usage = usage
        self._generation = Generation()
        self._started = time.monotonic()
        self._first_token: float | None = None
        self._saving: asyncio.Future[OpenTurn] | None = None

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The client's events. A failure before the first is raised; a later one becomes the last event."""
        sent = False
        try:
            async with aclosing(self._chunks()) as chunks:
                async for chunk in chunks:
                    sent = True
                    yield chunk
        except (GeneratorExit, asyncio.CancelledError):
            await self._record()
            raise
        except Exception as error:
            if not sent:
                observing.failed(self._turn, getattr(error, "code", "internal_error"))
                raise
            with suppress(Exception):  # the error that is told is the first one
                await self._record()
            yield self._tell(error)
        finally:
            await self._settle()

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        turn = self._turn
        spoken = stream(
            self._gateway, turn.route, turn.adapter, turn.body, self._generation, conversation=turn.conversation
        )
        async with aclosing(spoken) as chunks:
            async for chunk in chunks:
                self._first_token = self._first_token or time.monotonic() - self._started
                if self._generation.finish_reason:
                    await self._record()
                if chunk.get("choices") or self._usage:
                    yield presenting.event(
                        presenting.completion(chunk, turn_id=turn.public_id, model=self._model, shown=self._shown)
                    )
        yield presenting.DONE

    async def _record(self) -> None:
        """Commit what came, once; a stream that broke before any token leaves no turn.

        The commit is a task of its own: a client that hangs up in the middle of it cancels the waiting, not the commit.
        """
        await self._settle()
        if self._saving is None:
            if not (self._generation.finish_reason or self._generation.completion_ids):
                return
            timing = Timing(time.monotonic() - self._started, self._first_token)
            self._saving = asyncio.ensure_future(record(self._gateway, self._turn, self._generation, timing))
        await asyncio.shield(self._saving)

    async def _settle(self) -> None:
        """Before the client can know that the turn is over: it may come again at once."""
        await self._turn.admission.settle(self._generation.token_usage()["total_tokens"])

    def _tell(self, error: Exception) -> bytes:
        """The failure in OpenAI's words, as the stream's last event."""
        if isinstance(error, NockError):
            status, code, message = status_of(error), error.code, error.message
        else:
            if isinstance(error, DBAPIError):
                log.error("turn not saved", **database_failure(error))
            else:
                log.error("stream failed", exc_info=error)
            status, code, message = 500, "turn_not_saved", "The turn could not be saved, so it counts as not answered."
        observing.failed(self._turn, code)
        return presenting.event(error_body("/v1/", status, code, message, None))


class EventStream(Response):
    """Sends events until they end or the client hangs up; then closes them at once, which stops the engine."""

    media_type = "text/event-stream"

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes, None], headers: dict[str, str]) -> None:
        super().__init__(None, headers=headers | {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._first = first
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with metrics.STREAMS_IN_FLIGHT.track_inprogress(), suppress(HungUpError, OSError):
            await until_hang_up(scope, self._send_all(send))

    async def _send_all(self, send: Send) -> None:
        async with aclosing(self._rest) as rest:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
            async for event in rest:
                await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
