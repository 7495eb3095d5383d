"""What an engine may send: events cut anywhere, in any of the shapes that the format allows, and what is no stream."""

import json
import random
from typing import Any

import httpx
import pytest

from core.engine.circuit import FAILURES
from core.storage.database import Database
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway, StartGateway
from tests.fixtures.raw_engine import END, RawEngine, piece, running_raw_engine, whole
from tests.fixtures.rough_clients import split
from tests.fixtures.scripted_engine import ScriptedEngine
from tests.fixtures.waiting import eventually

ASK = {"model": "demo", "messages": [{"role": "user", "content": "hello"}], "stream": True}
WORDS = "naïve 😀 ok"
GOOD = [piece({"content": letter}, "stop" if place == len(WORDS) - 1 else None) for place, letter in enumerate(WORDS)]


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    await create_agent(database, "demo")


async def replies(gateway: RunningGateway) -> list[tuple[str, str]]:
    """(why it ended, what was said) of each turn that is kept of the conversation `ours`."""
    found = (await gateway.chat.get("/conversations/ours")).json()
    return [(turn["finish_reason"], turn["reply"]["content"]) for turn in found["turns"]]


async def ask(gateway: RunningGateway, engine: RawEngine, said: list[bytes]) -> str:
    engine.pieces = said
    return (await answer_of(gateway)).text


async def answer_of(gateway: RunningGateway, *, stream: bool = True) -> httpx.Response:
    body = ASK | {"stream": stream}
    answer = await gateway.chat.post("/v1/chat/completions", json=body, headers={"X-Conversation-Id": "ours"})
    await eventually(lambda: gateway.app.state.capacity.under_way == 0)
    assert gateway.app.state.gateway.pool.engines[0].in_flight == 0
    return answer


@pytest.mark.parametrize("seed", range(8))
async def test_events_may_be_cut_at_any_byte(start_gateway: StartGateway, seed: int) -> None:
    async with running_raw_engine() as engine, start_gateway(engine.url) as gateway:
        heard = await ask(gateway, engine, split(random.Random(seed), b"".join([*GOOD, END]), 200))
        assert "[DONE]" in heard
        assert await replies(gateway) == [("stop", WORDS)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\n", b"\r\n"),
        (b"data: ", b"data:"),
        (b"data: ", b": a comment \xff\n\ndata: "),
        (b"data: ", b"event: x\nid: 7\nretry: 5\ndata: "),
        (b"\n\n", b"\n\n\n\n"),
        (b"\n\n", b"\n"),
    ],
    ids=["CRLF", "no space", "comments", "other fields", "empty events", "no blank line"],
)
async def test_events_may_have_any_shape_that_the_format_knows(
    start_gateway: StartGateway, old: bytes, new: bytes
) -> None:
    async with running_raw_engine() as engine, start_gateway(engine.url) as gateway:
        assert "[DONE]" in await ask(gateway, engine, [event.replace(old, new) for event in [*GOOD, END]])
        assert await replies(gateway) == [("stop", WORDS)]


X = piece({"content": "x"})
BAD = {
    "no UTF-8": X.replace(b"x", b"\xff"),
    "a NUL": X.replace(b"x", b"\x00"),
    "half a surrogate": X.replace(b'"x"', b'"\\ud800"'),
    "no data": b"data:\n\n",
    "two objects": b"data: {}{}\n\n",
    "an array": b"data: []\n\n",
    "a choice that is none": b'data: {"choices": [7]}\n\n',
    "choices that are none": b'data: {"choices": 7}\n\n',
    "a text that is none": X.replace(b'"x"', b"7", 1),
    "an id that is none": X.replace(b"[120]", b'["a"]'),
    "an id too large to keep": X.replace(b"[120]", b"[99999999999]"),
    "a negative id": X.replace(b"[120]", b"[-120]"),
    "a prompt that is a text": X.replace(b'"created"', b'"prompt_token_ids": "hi", "created"'),
    "a prompt with a negative id": X.replace(b'"created"', b'"prompt_token_ids": [-7], "created"'),
    "a log-prob that is none": X.replace(b"-1.0", b'"low"'),
    "an infinite log-prob": X.replace(b"-1.0", b"1e999"),
    "a log-prob that float32 cannot hold": X.replace(b"-1.0", b"-1e99"),
    "a log-prob that is no number": X.replace(b"-1.0", b'"nan"'),
    "two replies": X.replace(b'"choices": [', b'"choices": [{"index": 1, "delta": {}}, '),
    "a thought that is none": piece({"content": "x", "reasoning": 7}),
    "the billionth tool call": piece({"tool_calls": [{"index": 10**9}]}),
    "a tool call before the first": piece({"tool_calls": [{"index": -7}]}),
    "a tool call that is none": piece({"content": "x", "tool_calls": [{"index": 0, "id": "a"}, 7]}),
    "a tool call's name that is none": piece({"tool_calls": [{"index": 0, "function": {"name": ["a"]}}]}),
    "half a tool call": piece({"tool_calls": [{"index": 0.5}]}),
    "a finish that is none": piece({"content": "x"}, "stop").replace(b'"stop"', b"7"),
    "an abyss": b"data: " + b"[" * 100_000 + b"\n\n",
    "a line without end": b"data: " + b"x" * 9_000_000,
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_what_is_no_stream_breaks_it_where_it_stands_and_keeps_what_came_before(
    start_gateway: StartGateway, bad: bytes
) -> None:
    async with running_raw_engine() as engine, start_gateway(engine.url) as gateway:
        heard = await ask(gateway, engine, [*GOOD[:5], bad, *GOOD[5:], END])
        assert '"engine_failed"' in heard
        assert "[DONE]" not in heard
        assert await replies(gateway) == [("truncated", WORDS[:5])]


WHOLE = whole("hello")
SAID = WHOLE["choices"][0]
USAGE = WHOLE["usage"]


def calling(*calls: Any) -> dict[str, Any]:
    return WHOLE | {"choices": [SAID | {"message": SAID["message"] | {"tool_calls": calls}}]}


NO_ANSWERS = {
    "a prompt that is a text": WHOLE | {"prompt_token_ids": "hi"},
    "a prompt that is an object": WHOLE | {"prompt_token_ids": {"0": 1}},
    "a prompt that is a number": WHOLE | {"prompt_token_ids": 7},
    "a prompt with a negative id": WHOLE | {"prompt_token_ids": [1, -2]},
    "a prompt with an id too large to keep": WHOLE | {"prompt_token_ids": [2**31]},
    "a prompt with half an id": WHOLE | {"prompt_token_ids": [0.5]},
    "a negative id": WHOLE | {"choices": [SAID | {"token_ids": [-1]}]},
    "a log-prob that is no number": WHOLE | {"choices": [SAID | {"logprobs": {"content": [{"logprob": "nan"}]}}]},
    "tool calls that are none": calling("a"),
    "a tool call whose arguments are none": calling({"id": "a", "function": {"name": "f", "arguments": {"a": 1}}}),
    "a tool call whose id is none": calling({"id": 7, "function": {"name": "f", "arguments": "{}"}}),
    "a tool call as deep as an abyss": calling({"id": "a", "function": json.loads("[" * 300 + "]" * 300)}),
    "counts beyond all numbers": WHOLE | {"usage": USAGE | {"total_tokens": 1e30}},
    "counts below nought": WHOLE | {"usage": USAGE | {"completion_tokens": -5}},
    "counts that are none": WHOLE | {"usage": [7]},
    "two replies, of which one is none": WHOLE | {"choices": [SAID, 7]},
    "a message that is none": WHOLE | {"choices": [SAID | {"message": "hello"}]},
    "a text that is none": WHOLE | {"choices": [SAID | {"message": {"role": "assistant", "content": [7]}}]},
    "a finish that is none": WHOLE | {"choices": [SAID | {"finish_reason": 7}]},
}


@pytest.mark.parametrize("said", NO_ANSWERS.values(), ids=NO_ANSWERS)
async def test_what_is_no_answer_is_the_engines_failure_and_no_turn(
    start_gateway: StartGateway, said: dict[str, Any]
) -> None:
    async with running_raw_engine() as engine, start_gateway(engine.url) as gateway:
        engine.pieces = [json.dumps(said).encode()]
        for _ in range(FAILURES):
            answer = await answer_of(gateway, stream=False)
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_failed")
        assert gateway.app.state.gateway.pool.engines[0].circuit.is_open
        assert await replies(gateway) == []
        engine.pieces = [json.dumps(WHOLE).encode()]
        assert (await answer_of(gateway, stream=False)).status_code == 200
        assert await replies(gateway) == [("stop", "hello")]


@pytest.mark.parametrize("bad", [BAD["a negative id"], BAD["half a tool call"], END], ids=["id", "call", "end"])
async def test_a_stream_that_begins_with_what_is_none_counts_against_its_engine(
    start_gateway: StartGateway, bad: bytes
) -> None:
    async with running_raw_engine() as engine, start_gateway(engine.url) as gateway:
        engine.pieces = [bad, *GOOD, END]
        for _ in range(FAILURES):
            answer = await answer_of(gateway)
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_failed")
        assert gateway.app.state.gateway.pool.engines[0].circuit.is_open
        assert await replies(gateway) == []


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_no_answer_is_another_engines_request(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, stream: bool
) -> None:
    async with running_raw_engine() as engine, start_gateway(f"{engine.url},{scripted_engine.url}") as gateway:
        engine.pieces = [BAD["a negative id"]] if stream else [json.dumps(calling("a")).encode()]
        answers = []
        while not engine.sent:
            body = {**ASK, "stream": stream, "store": False}
            answers.append(await gateway.chat.post("/v1/chat/completions", json=body))
        assert {answer.status_code for answer in answers} == {200}
        assert len(scripted_engine.requests) == len(answers)
