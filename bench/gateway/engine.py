"""A mock engine in vLLM's dialect that costs as little as it can, so that what is measured is the gateway before it.

Token ids depend on nothing but their place, so that a later prompt begins with an earlier one and its reply, as a
chat template's does. A reply has as many tokens as the request's `max_tokens`.
"""

import argparse
import asyncio
from functools import lru_cache
from typing import Any, cast

import httptools
import orjson
import uvloop

MODEL = "mock"
DEFAULT_TOKENS = 20
MOST_TOKENS = 32_768
AT_ONCE = 10_000
"""A reply of more tokens than that comes without a pause: it is for those who read it slowly."""
WIDTH = 5
IDS = b",".join(b"%d" % (1000 + place % 9000) for place in range(2 * MOST_TOKENS))
LOGPROB = b'{"token":"word ","logprob":-0.25,"bytes":[119,111,114,100,32],"top_logprobs":[]}'
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
CARD = {"id": MODEL, "object": "model", "root": "/models/mock", "parent": None, "max_model_len": 2 * MOST_TOKENS}
MODELS = orjson.dumps({"object": "list", "data": [CARD]})


def ids(start: int, stop: int) -> bytes:
    """The token ids at those places, as a JSON list."""
    return b"[" + IDS[WIDTH * start : WIDTH * stop - 1] + b"]"


def reply(tokens: int) -> str:
    """What the engine says in so many tokens."""
    return "word " * tokens


def prompt_tokens(messages: list[dict[str, Any]]) -> int:
    """More than the messages' replies were generated with, as templates add some around each."""
    return 4 + sum(4 + len(message["content"]) // 4 for message in messages)


@lru_cache(maxsize=256)
def answer(prompt: int, tokens: int, logprobs: bool, token_ids: bool) -> bytes:
    """A whole `chat.completion`, but for its id."""
    heard = b'{"content":[%s]}' % b",".join([LOGPROB] * tokens) if logprobs else b"null"
    return b"".join(
        [
            b'"object":"chat.completion","created":1700000000,"model":"mock","choices":[{"index":0,"message":',
            b'{"role":"assistant","content":"%s","refusal":null,"tool_calls":[]},' % reply(tokens).encode(),
            b'"logprobs":%s,"finish_reason":"stop","stop_reason":null,' % heard,
            b'"token_ids":%s}],"service_tier":null,' % (ids(prompt, prompt + tokens) if token_ids else b"null"),
            b'"usage":%s,' % usage(prompt, tokens),
            b'"prompt_logprobs":null,"prompt_token_ids":%s}' % (ids(0, prompt) if token_ids else b"null"),
        ]
    )


def usage(prompt: int, tokens: int) -> bytes:
    return b'{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d}' % (prompt, prompt + tokens, tokens)


@lru_cache(maxsize=256)
def events(prompt: int, tokens: int, logprobs: bool, token_ids: bool, counted: bool) -> tuple[bytes, ...]:
    """The `chat.completion.chunk`s after their id: the role, a token each, the usage where it was asked for."""
    head = b'"object":"chat.completion.chunk","created":1700000000,"model":"mock","choices":['
    said = ids(0, prompt) if token_ids else b"null"
    first = b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]'
    found = [head + first + b',"prompt_token_ids":%s}' % said]
    heard = b'{"content":[%s]}' % LOGPROB if logprobs else b"null"
    for place in range(prompt, prompt + tokens):
        finish = b'"stop"' if place == prompt + tokens - 1 else b"null"
        found.append(
            b'%s{"index":0,"delta":{"content":"word "},"logprobs":%s,"finish_reason":%s,"token_ids":%s}]}'
            % (head, heard, finish, ids(place, place + 1) if token_ids else b"null")
        )
    if counted:
        found.append(head + b'],"usage":%s}' % usage(prompt, tokens))
    return tuple(found)


class Engine(asyncio.Protocol):
    """One connection, kept."""

    spoken = 0

    def __init__(self, pause: float) -> None:
        self._pause = self._step_pause = pause
        self._loop = asyncio.get_running_loop()
        self._url = b""
        self._body = b""
        self._rest: tuple[bytes, ...] = ()
        self._id = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_message_begin(self) -> None:
        self._body = b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._url.endswith(b"/chat/completions"):
            self._speak(orjson.loads(self._body))
        elif self._url.endswith(b"/models"):
            self._write(MODELS)
        else:
            self._write(b"{}")

    def _write(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)

    def _speak(self, asked: dict[str, Any]) -> None:
        Engine.spoken += 1
        self._id = b'{"id":"chatcmpl-%d",' % Engine.spoken
        prompt = prompt_tokens(asked["messages"])
        tokens = asked.get("max_tokens") or asked.get("max_completion_tokens") or DEFAULT_TOKENS
        wanted = (prompt, tokens, bool(asked.get("logprobs")), bool(asked.get("return_token_ids")))
        if not asked.get("stream"):
            if self._pause:
                self._loop.call_later(self._pause * tokens, self._write, self._id + answer(*wanted))
            else:
                self._write(self._id + answer(*wanted))
            return
        self._step_pause = 0.0 if tokens > AT_ONCE else self._pause
        counted = bool((asked.get("stream_options") or {}).get("include_usage"))
        self._rest = events(*wanted, counted)
        self._transport.write(SSE)
        self._step(0)

    def _step(self, number: int) -> None:
        """One event in a turn of the loop of its own, so that it leaves by itself as a step of a model does."""
        if self._transport.is_closing():
            return
        data = b"data: " + self._id + self._rest[number] + b"\n\n"
        chunk = b"%x\r\n%s\r\n" % (len(data), data)
        if number == len(self._rest) - 1:
            self._transport.write(chunk + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        else:
            self._transport.write(chunk)
            if self._step_pause:
                self._loop.call_later(self._step_pause, self._step, number + 1)
            else:
                self._loop.call_soon(self._step, number + 1)


async def serve(port: int, pause: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Engine(pause), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway.engine", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two tokens")
    given = parser.parse_args()
    uvloop.run(serve(given.port, given.pause))


if __name__ == "__main__":
    main()
