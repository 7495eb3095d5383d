"""Bodies and headers that make no sense, or too much of it: told in OpenAI's shape, kept nowhere, nobody waits."""

import gzip
import json
import os
import resource
import zlib
from collections.abc import AsyncIterator
from random import Random
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from core.storage.database import Database
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway, StartGateway
from tests.fixtures.scripted_engine import ScriptedEngine
from tests.fixtures.settings import ROOT
from tests.fixtures.waiting import eventually

Json = dict[str, Any]
CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    await create_agent(database, "demo")


def body(**fields: Any) -> Json:
    return {"model": "demo", "messages": HELLO, **fields}


def raw(messages: str = '[{"role": "user", "content": "hello"}]', more: str = "") -> str:
    return f'{{"model": "demo", "messages": {messages}{more}}}'


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


BROKEN_JSON = {
    "half": '{"model": "demo"',
    "NaN": raw(more=', "temperature": NaN'),
    "infinity": raw(more=', "temperature": -Infinity'),
    "infinite when read": raw(more=', "temperature": 1e999'),
    "a number of 400 digits": raw(more=f', "seed": {10**400}'),
    "half a surrogate": raw('[{"role": "user", "content": "\\ud800"}]'),
    "half a surrogate in a name": raw(more=', "metadata": {"\\udfff": "x"}'),
    "a thousand levels": raw(more=f', "of_next_year": {nested(1000)}'),
    "ten thousand levels": raw(more=f', "of_next_year": {nested(10_000)}'),
    "a hundred levels too deep": raw(more=f', "of_next_year": {nested(100)}'),
    "a thousand levels of objects": raw(more=', "of_next_year": ' + '{"a":' * 1000 + "1" + "}" * 1000),
    "a control character": raw('[{"role": "user", "content": "a\nb"}]'),
    "two bodies": raw() + raw(),
    "UTF-16": raw().encode("utf-16"),
    "not UTF-8": b'{"model": "\xff"}',
}


async def test_what_is_no_json_is_refused_as_such(gateway: RunningGateway, scripted_engine: ScriptedEngine) -> None:
    for name, content in BROKEN_JSON.items():
        for path in (CHAT, "/chat", "/feedback"):
            key = gateway.feedback if path == "/feedback" else gateway.chat
            answer = await key.post(path, content=content)
            assert answer.status_code == (400 if path == CHAT else 422), (name, answer.text)
            assert answer.json()["error"]["code"] == "invalid_json", (name, answer.text)
    assert not scripted_engine.requests


async def test_of_a_name_that_is_given_twice_the_last_one_is_read_hashed_kept_and_sent(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    twice = raw('[{"role": "user", "content": "first", "content": "last"}]', ', "temperature": 0.1, "temperature": 0.9')
    answer = await gateway.chat.post(CHAT, content=twice)
    assert answer.status_code == 200
    assert scripted_engine.requests[-1]["messages"] == [{"role": "user", "content": "last"}]
    assert scripted_engine.requests[-1]["temperature"] == 0.9
    found = (await gateway.chat.get(f"/conversations/{answer.headers['X-Conversation-Id']}")).json()
    assert found["turns"][0]["messages"] == [{"role": "user", "content": "last"}]
    history = [{"role": "user", "content": "last"}, answer.json()["choices"][0]["message"], *HELLO]
    second = await gateway.chat.post(CHAT, json=body(messages=history))
    assert second.headers["X-Conversation-Id"] == answer.headers["X-Conversation-Id"]


WRONG: list[tuple[Json, str | None]] = [
    *[(body(model=wrong), "model") for wrong in (None, 3, "", "x" * 300, ["demo"], {}, "a\x00")],
    *[(body(messages=wrong), "messages") for wrong in (None, [], {}, "hello", 3, True)],
    *[(body(messages=[wrong]), "messages.0") for wrong in (None, [], "hello", 3)],
    (body(messages=[{"content": "x"}]), "messages.0.role"),
    (body(messages=[{"role": "pirate", "content": "x"}]), "messages.0.role"),
    (body(messages=[{"role": ["user"], "content": "x"}]), "messages.0.role"),
    *[
        (body(messages=[{"role": "user", "content": wrong}]), "messages.0.content")
        for wrong in (None, 3, {}, [3], [{}])
    ],
    (body(messages=[{"role": "user"}]), "messages.0.content"),
    (body(messages=[*HELLO, {"role": "user", "content": [{"type": "text"}]}]), "messages.1.content"),
    (body(messages=[*HELLO, {"role": "user", "content": [{"type": "text", "text": 3}]}]), "messages.1.content"),
    (body(messages=[{"role": "assistant", "tool_calls": "x"}]), "messages.0.tool_calls"),
    (body(messages=[{"role": "assistant", "tool_calls": [{}]}]), "messages.0.tool_calls.0.function"),
    (
        body(messages=[{"role": "assistant", "tool_calls": [CALL | {"function": {"name": "x", "arguments": {}}}]}]),
        "messages.0.tool_calls.0.function.arguments",
    ),
    (
        body(messages=[*HELLO, {"role": "tool", "content": "x", "tool_call_id": "of nobody"}]),
        "messages.1.tool_call_id",
    ),
    (body(messages=[{"role": "tool", "content": "x"}]), "messages.0.tool_call_id"),
    (
        body(
            messages=[
                *HELLO,
                {"role": "tool", "content": "too early", "tool_call_id": "c1"},
                {"role": "assistant", "tool_calls": [CALL]},
            ]
        ),
        "messages.1.tool_call_id",
    ),
    *[(body(stream=wrong), "stream") for wrong in ("yes", 1, [])],
    *[(body(stream=True, stream_options=wrong), "stream_options") for wrong in ("yes", [], True)],
    (body(stream=True, stream_options={"include_usage": "yes"}), "stream_options.include_usage"),
    (body(stream_options={"include_usage": True}), "stream_options"),
    *[(body(n=wrong), "n") for wrong in (0, 2, -1, "1", 1.5, 10**30)],
    *[(body(logprobs=wrong), "logprobs") for wrong in ("yes", 1, 5)],
    *[(body(logprobs=True, top_logprobs=wrong), "top_logprobs") for wrong in (-1, 21, "3", 1.5, 10**30, True)],
    (body(top_logprobs=2), "top_logprobs"),
    *[(body(temperature=wrong), "temperature") for wrong in (-0.1, 2.1, "hot", True, [], 1e308)],
    *[(body(top_p=wrong), "top_p") for wrong in (0, -1, 1.1, "1")],
    *[(body(max_tokens=wrong), "max_tokens") for wrong in (0, -5, 1.5, "9", True)],
    *[(body(max_completion_tokens=wrong), "max_completion_tokens") for wrong in (0, "9", [])],
    *[(body(presence_penalty=wrong), "presence_penalty") for wrong in (-2.1, 2.1, "x")],
    (body(logit_bias=[1]), "logit_bias"),
    (body(logit_bias={"5": 101}), "logit_bias.5"),
    *[(body(seed=wrong), "seed") for wrong in (2**63, -(2**63) - 1, 1.5, "x", 10**30)],
    *[(body(stop=wrong), "stop") for wrong in (3, [3], {}, [None])],
    *[(body(tools=wrong), "tools") for wrong in ("x", {}, 3)],
    (body(tools=["x"]), "tools.0"),
    (body(tools=[{"function": {}}]), "tools.0.type"),
    (body(tools=[{"type": "function", "function": {"name": f"f{i}"}} for i in range(10_000)]), "tools"),
    *[(body(tool_choice=wrong), "tool_choice") for wrong in (3, [], True)],
    (body(parallel_tool_calls="yes"), "parallel_tool_calls"),
    *[(body(response_format=wrong), "response_format") for wrong in ("json", [], 3)],
    *[
        (body(metadata=wrong), "metadata")
        for wrong in ("x", [], 3, {"a": 1}, {"a": {}}, {"a": "x" * 65}, {"a" * 65: "x"})
    ],
    (body(metadata={f"tag{i}": "x" for i in range(17)}), "metadata"),
    *[(body(metadata={"conversation_id": wrong}), "metadata") for wrong in (3, [])],
    *[
        (body(metadata={"conversation_id": wrong}), "metadata.conversation_id")
        for wrong in ("", "x" * 129, "a\nb", "\u202e")
    ],
    *[(body(user=wrong), "user") for wrong in (3, [], {}, "a\x00", "x" * 513)],
    (body(metadata={"user": "x" * 513}), "metadata"),
    *[(body(store=wrong), "store") for wrong in ("no", 0, [])],
]


async def test_whatever_has_the_wrong_type_or_value_is_refused_by_its_name(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    for wrong, param in WRONG:
        answer = await gateway.chat.post(CHAT, json=wrong)
        seen = (json.dumps(wrong)[:200], answer.text)
        assert answer.status_code == 400, seen
        error = answer.json()["error"]
        assert error.keys() == {"message", "type", "code", "param"}, seen
        assert error["param"] == param, seen
        assert error["type"] == "invalid_request_error", seen
        assert len(error["message"]) < 300, seen
    assert not scripted_engine.requests


async def test_an_end_user_of_the_longest_name_is_found_again_and_a_longer_one_is_refused(
    gateway: RunningGateway,
) -> None:
    draw = Random(1)
    longest = "".join(chr(draw.randrange(0x10000, 0x110000)) for _ in range(512))  # 2 KiB that nothing makes smaller
    for path, asked in (
        (CHAT, body(user=longest)),
        (CHAT, body(metadata={"user": longest})),
        ("/chat", {"agent": "demo", "message": "hello", "user": longest}),
    ):
        answer = await gateway.chat.post(path, json=asked)
        assert answer.status_code == 200, answer.text
        assert (await gateway.admin.delete(f"/users/{quote(longest)}")).status_code == 200
    refused = await gateway.chat.post("/chat", json={"agent": "demo", "message": "hello", "user": longest + "x"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "user")


async def test_what_is_no_object_is_refused(gateway: RunningGateway) -> None:
    for content in ("", "null", "[]", '"demo"', "3", "true", "[[]]"):
        answer = await gateway.chat.post(CHAT, content=content)
        assert answer.status_code == 400, (content, answer.text)
        assert answer.json()["error"].keys() == {"message", "type", "code", "param"}


async def test_a_model_that_looks_like_a_path_is_no_agent(gateway: RunningGateway) -> None:
    for model in (
        "../demo",
        "demo/../demo",
        "/etc/passwd",
        "demo%2F",
        "demo@",
        "demo@v0x1",
        "demo@v-1",
        "@base",
        "a@b@c",
    ):
        for key in (gateway.admin, gateway.chat):
            answer = await key.post(CHAT, json=body(model=model))
            assert answer.status_code in (403, 404), (model, answer.text)
            assert str(ROOT) not in answer.text


async def test_another_agents_conversation_is_not_there(gateway: RunningGateway, database: Database) -> None:
    await create_agent(database, "other")
    theirs = (await gateway.chat.post(CHAT, json=body())).headers["X-Conversation-Id"]
    routing = gateway.app.state.gateway.routing
    await eventually(lambda: "other" in {route.agent.name for route in routing.all()})
    for sent in ({"headers": {"X-Conversation-Id": theirs}}, {}):
        asked = body(model="other") if sent else body(model="other", metadata={"conversation_id": theirs})
        answer = await gateway.chat.post(CHAT, json=asked, **sent)  # type: ignore[arg-type]
        assert answer.status_code == 404, answer.text
        assert answer.json()["error"]["code"] == "conversation_not_found"


async def test_headers_of_bad_shape_are_refused(gateway: RunningGateway) -> None:
    async def answer(*headers: tuple[bytes, bytes]) -> httpx.Response:
        async with httpx.AsyncClient(base_url=gateway.url) as plain:
            return await plain.post(CHAT, json=body(), headers=headers)  # type: ignore[arg-type]

    key = (b"Authorization", b"Bearer " + gateway.keys.chat.encode())
    for value in (b"%ff", b"%c3%28", "ü".encode(), b"\xff", b"x" * 129, b"%00", b"a%0Ab"):
        refused = await answer(key, (b"X-Conversation-Id", value))
        assert refused.status_code == 400, (value, refused.text)
        assert refused.json()["error"].keys() == {"message", "type", "code", "param"}
    for value in (b"", b"%C3%BC%20%2F", b"%zz"):
        taken = await answer(key, (b"X-Conversation-Id", value))
        assert taken.status_code == 200, (value, taken.text)
    for value in (
        b"Bearer",
        b"Basic x",
        b"Bearer \xff\xfe",
        b"nk_1",
        b"Bearer nk_\xc3\xbc",
        b"Bearer " + b"x" * 9000,
    ):
        refused = await answer((b"Authorization", value))
        assert refused.status_code == 401, (value, refused.text)
        assert refused.json()["error"].keys() == {"message", "type", "code", "param"}


async def test_compressed_bodies_are_read_as_what_they_hold(gateway: RunningGateway) -> None:
    content = json.dumps(body(messages=[{"role": "user", "content": "squeezed " * 9000}])).encode()
    for encoding, packed in (
        ("gzip", gzip.compress(content)),
        ("GZip", gzip.compress(content)),
        ("x-gzip", gzip.compress(content)),
        ("deflate", zlib.compress(content)),
        ("identity", content),
        ("", content),
        ("identity, gzip", gzip.compress(content)),
    ):
        answer = await gateway.chat.post(CHAT, content=packed, headers={"Content-Encoding": encoding})
        assert answer.status_code == 200, (encoding, answer.text)
        assert len(answer.json()["choices"][0]["message"]["content"]) > 80_000


async def test_a_body_that_is_not_what_its_encoding_says_is_refused(gateway: RunningGateway) -> None:
    whole = gzip.compress(json.dumps(body()).encode())
    for content in (
        b"",
        whole[:-9],
        whole[:4],
        whole + b"more",
        whole + whole,
        json.dumps(body()).encode(),
        b"\x00" * 99,
    ):
        answer = await gateway.chat.post(CHAT, content=content, headers={"Content-Encoding": "gzip"})
        assert answer.status_code == 400, (content, answer.text)
        assert answer.json()["error"]["code"] == "invalid_encoding"
    for encoding in ("br", "zstd", "compress", "gzip, gzip", "gzip, br", "chunked", "ü"):
        answer = await gateway.chat.post(CHAT, content=whole, headers={"Content-Encoding": encoding.encode()})  # type: ignore[dict-item]
        assert answer.status_code == 415, (encoding, answer.text)
        assert answer.json()["error"]["code"] == "unsupported_encoding"
        assert answer.headers["Accept-Encoding"] == "gzip, deflate"


async def test_a_bomb_is_refused_for_what_it_would_become_and_costs_no_memory(gateway: RunningGateway) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(b" " * 2**20) for _ in range(1024)) + packer.flush()  # a gibibyte in a mebibyte
    assert len(bomb) < 1_100_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path, key in ((CHAT, gateway.chat), ("/chat", gateway.chat), ("/feedback/batch", gateway.feedback)):
        for _ in range(3):
            answer = await key.post(path, content=bomb, headers={"Content-Encoding": "gzip"})
            assert answer.status_code == 413, answer.text
            assert answer.json()["error"]["code"] == "request_too_large"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 200 * 2**20


def picture(size: int) -> Json:
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * size}}


async def test_each_route_has_its_own_limit(start_gateway: StartGateway, scripted_engine: ScriptedEngine) -> None:
    sizes = {"max_body_bytes": 10_000, "chat_body_bytes": 100_000, "feedback_batch_bytes": 50_000}
    async with start_gateway(scripted_engine.url, **sizes) as gateway:

        async def status(path: str, content: Json) -> int:
            key = gateway.feedback if path.startswith("/feedback") else gateway.chat
            answer = await key.post(path, json=content)
            assert answer.status_code < 500, answer.text
            return answer.status_code

        seen = body(messages=[{"role": "user", "content": [{"type": "text", "text": "?"}, picture(90_000)]}])
        assert await status(CHAT, seen) == 200
        assert await status(CHAT, body(messages=[{"role": "user", "content": [picture(110_000)]}])) == 413
        assert await status(CHAT, body(messages=[{"role": "user", "content": "x" * 12_000}])) == 413
        written = body(messages=[{"role": "user", "content": [{"type": "text", "text": "x" * 12_000}, picture(9)]}])
        assert await status(CHAT, written) == 413
        assert await status("/chat", {"agent": "demo", "message": "x" * 12_000}) == 413
        entry = {"turn_id": "turn_" + "0" * 32, "value": 1.0, "comment": "x" * 9000}
        assert await status("/feedback/batch", {"entries": [entry] * 5}) == 200
        assert await status("/feedback/batch", {"entries": [entry] * 6}) == 413
        assert await status("/feedback", entry | {"comment": "x" * 11_000}) == 413


async def test_a_body_of_no_length_is_refused_when_it_has_become_too_large(gateway: RunningGateway) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        packer = zlib.compressobj(1, wbits=31)
        for _ in range(40):
            yield packer.compress(os.urandom(2**16)) + packer.flush(zlib.Z_SYNC_FLUSH)

    answer = await gateway.chat.post("/chat", content=pieces(), headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 413
