"""Replies on a connection that may break: whichever way it ends, the row in the batch is freed."""

import asyncio
from collections.abc import AsyncIterator, Callable

import orjson
from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from engine.errors import RequestError, error_body
from engine.serving import Reply


class ReplyStream(StreamingResponse):
    """Server-sent events of one reply; whichever way it ends, the row is freed."""

    def __init__(self, reply: Reply, abandon: Callable[[], None]) -> None:
        super().__init__(events(reply), media_type="text/event-stream")
        self._abandon = abandon

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._abandon()


async def events(reply: Reply) -> AsyncIterator[bytes]:
    try:
        async for chunk in reply.chunks():
            yield b"data: " + orjson.dumps(chunk) + b"\n\n"
    except RequestError as error:
        # The 200 has left already: vLLM says it in the stream.
        yield b"data: " + orjson.dumps(error_body(str(error), error.type, error.status, error.param)) + b"\n\n"
    yield b"data: [DONE]\n\n"


async def whole_unless_gone(request: Request, reply: Reply) -> Response:
    """The whole reply; a client that hangs up before it frees the row."""
    answer = asyncio.ensure_future(reply.whole())
    gone = asyncio.ensure_future(wait_until_gone(request))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            return Response(status_code=499)
        return Response(orjson.dumps(answer.result()), media_type="application/json")
    finally:
        answer.cancel()
        gone.cancel()


async def wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
