"""The wire format of chat completions as OpenAI's own client speaks it, whole and streamed, and what is kept of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from core.storage.database import Database
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.scripted_engine import ScriptedEngine

Json = dict[str, Any]

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "default": None}}},
    },
}
CALLS = [
    {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}},
    {"id": "call_2", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}},
]
CALLING = {"role": "assistant", "content": None, "tool_calls": CALLS}
HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    await create_agent(database, "demo")


@pytest.fixture
async def client(gateway: RunningGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.keys.chat, max_retries=0) as client:
        yield client


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def stream(request: pytest.FixtureRequest) -> bool:
    streamed: bool = request.param
    return streamed


async def complete(client: openai.AsyncOpenAI, stream: bool, **fields: Any) -> Any:
    """The answer as the client puts it together, from a stream by its own accumulator."""
    fields = {"model": "demo", "messages": HELLO, **fields}
    if not stream:
        return await client.chat.completions.create(**fields)
    async with client.chat.completions.stream(**fields) as chunks:
        return await chunks.get_final_completion()


async def turn_of(gateway: RunningGateway, answer: Any) -> Json:
    told = await gateway.feedback.post("/feedback", json={"turn_id": answer.id, "value": 0.0})
    found = await gateway.chat.get(f"/conversations/{told.json()['conversation_id']}", params={"tokens": True})
    turns: list[Json] = found.json()["turns"]
    return next(turn for turn in turns if turn["turn_id"] == answer.id)


async def chunks_of(gateway: RunningGateway, **fields: Any) -> list[Json]:
    body = {"model": "demo", "messages": HELLO, "stream": True, **fields}
    answer = await gateway.chat.post("/v1/chat/completions", json=body)
    events = answer.text.strip().split("\n\n")
    assert events.pop() == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


async def test_parallel_tool_calls_come_whole_are_kept_and_their_results_continue_the_conversation(
    client: openai.AsyncOpenAI, gateway: RunningGateway, scripted_engine: ScriptedEngine, stream: bool
) -> None:
    scripted_engine.message = CALLING
    tools: Json = {"tools": [WEATHER], "tool_choice": "auto", "parallel_tool_calls": True}
    answer = await complete(client, stream, **tools)
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls] == [
        (call["id"], call["function"]["name"], call["function"]["arguments"]) for call in CALLS
    ]
    sent = scripted_engine.requests[-1]
    assert {name: sent[name] for name in tools} == tools
    assert (await turn_of(gateway, answer))["reply"] == CALLING

    scripted_engine.message = None
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "sunny"} for call in CALLS]
    history = [*HELLO, message.model_dump(), *results]
    second = await complete(client, stream, messages=history, **tools)
    first_place, second_place = await turn_of(gateway, answer), await turn_of(gateway, second)
    assert (first_place["index"], second_place["index"]) == (0, 1)
    assert second_place["messages"] == results


async def test_reasoning_is_shown_and_kept_and_need_not_be_sent_again(
    client: openai.AsyncOpenAI, gateway: RunningGateway, scripted_engine: ScriptedEngine, stream: bool
) -> None:
    scripted_engine.message = {"role": "assistant", "reasoning": "hm", "content": "yes"}
    answer = await complete(client, stream)
    assert answer.choices[0].message.reasoning == "hm"
    turn = await turn_of(gateway, answer)
    assert turn["reply"] == scripted_engine.message
    assert bytes(turn["completion_token_ids"]) == b"hmyes"
    scripted_engine.message = None
    more = [*HELLO, {"role": "assistant", "content": "yes"}, {"role": "user", "content": "sure?"}]
    assert (await turn_of(gateway, await complete(client, stream, messages=more)))["index"] == 1


async def test_log_probs_are_shown_as_asked_and_kept_as_sampled(
    client: openai.AsyncOpenAI, gateway: RunningGateway, scripted_engine: ScriptedEngine, stream: bool
) -> None:
    kept = []
    for fields, tops in (({}, None), ({"logprobs": True}, 0), ({"logprobs": True, "top_logprobs": 2}, 2)):
        answer = await complete(client, stream, **fields)
        shown = answer.choices[0].logprobs
        if tops is None:
            assert shown is None or not shown.content
        else:
            assert "".join(token.token for token in shown.content) == "tiny heard hello"
            assert {len(token.top_logprobs) for token in shown.content} == {tops}
        turn = await turn_of(gateway, answer)
        kept.append((turn["logprobs"], turn["completion_token_ids"], turn["learnable"]))
    assert kept == [([-0.5] * 16, list(b"tiny heard hello"), "actor")] * 3


async def test_token_ids_are_shown_to_who_asks_for_them_alone(gateway: RunningGateway) -> None:
    for wanted in (False, None, True):
        body = {"model": "demo", "messages": HELLO, "return_token_ids": wanted}
        whole = (await gateway.chat.post("/v1/chat/completions", json=body)).json()
        chunks = await chunks_of(gateway, return_token_ids=wanted)
        seen = {"prompt_token_ids" in whole, "token_ids" in whole["choices"][0]}
        seen |= {"prompt_token_ids" in chunks[0], "token_ids" in chunks[1]["choices"][0]}
        assert seen == {bool(wanted)}


async def test_what_engines_say_to_each_other_is_not_shown(gateway: RunningGateway) -> None:
    whole = await gateway.chat.post("/v1/chat/completions", json={"model": "demo", "messages": HELLO})
    assert "10.0.0.7" not in whole.text
    assert whole.json()["choices"][0]["stop_reason"] is None  # vLLM's harmless fields stay


async def test_usage_comes_last_without_choices_for_who_asks_and_else_not_at_all(gateway: RunningGateway) -> None:
    for options in (None, {}, {"include_usage": False}, {"include_usage": None}):
        chunks = await chunks_of(gateway, stream_options=options)
        assert all(chunk["choices"] and "usage" not in chunk for chunk in chunks)
    chunks = await chunks_of(gateway, stream_options={"include_usage": True})
    assert [bool(chunk["choices"]) for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert chunks[-1]["usage"]["completion_tokens"] == 16
    assert {chunk["id"] for chunk in chunks} == {chunks[0]["id"]}
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]


async def test_tokens_arrive_while_the_engine_still_speaks(
    client: openai.AsyncOpenAI, gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    scripted_engine.pause = 0.05
    said = ""
    async with await client.chat.completions.create(model="demo", messages=HELLO, stream=True) as chunks:  # type: ignore[list-item]
        async for chunk in chunks:
            said += chunk.choices[0].delta.content or ""
            if said == "ti":
                assert scripted_engine.pieces_sent < 10
    assert said == "tiny heard hello"
    turn = await turn_of(gateway, chunk)
    assert bytes(turn["completion_token_ids"]).decode() == said
    assert len(turn["logprobs"]) == len(said)


PASSED_ON: list[tuple[Json, str]] = [
    ({"stop": ["\n", "END"]}, "actor"),
    ({"stop": "END"}, "actor"),
    ({"seed": 7}, "actor"),
    ({"max_completion_tokens": 9}, "actor"),
    ({"max_tokens": 9}, "actor"),
    ({"temperature": 0.7}, "actor"),
    ({"temperature": 0}, "critic"),
    ({"temperature": 0.001}, "critic"),
    ({"top_p": 0.5}, "critic"),
    ({"logit_bias": {"50": -100}}, "critic"),
    ({"presence_penalty": 0.5}, "critic"),
    ({"frequency_penalty": -0.5}, "critic"),
    ({"response_format": {"type": "text"}}, "actor"),
    ({"response_format": {"type": "json_object"}}, "critic"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"default": None}}}},
        "critic",
    ),
    ({"tools": [WEATHER]}, "actor"),
    ({"tools": [WEATHER], "tool_choice": "required"}, "critic"),
    ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}}, "critic"),
    ({"reasoning_effort": "low"}, "actor"),
    ({"service_tier": "auto", "safety_identifier": "u"}, "actor"),
]


async def test_what_a_client_says_of_sampling_reaches_the_engine_and_decides_what_the_turn_teaches(
    client: openai.AsyncOpenAI, gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    for fields, learnable in PASSED_ON:
        answer = await complete(client, False, **fields)
        sent = scripted_engine.requests[-1]
        assert {name: sent[name] for name in fields} == fields
        assert (await turn_of(gateway, answer))["learnable"] == learnable, fields


VLLM: list[tuple[Json, str]] = [
    ({"top_k": 5}, "critic"),
    ({"min_p": 0.1}, "critic"),
    ({"min_tokens": 2}, "critic"),
    ({"bad_words": ["no"]}, "critic"),
    ({"structured_outputs": {"choice": ["a", "b"]}}, "critic"),
    ({"guided_choice": ["a", "b"]}, "critic"),
    ({"logits_processors": ["mine"]}, "critic"),
    ({"vllm_xargs": {"bend": 1}}, "critic"),
    ({"thinking_token_budget": 5}, "critic"),
    ({"include_stop_str_in_output": True}, "actor"),
    ({"return_tokens_as_token_ids": True}, "actor"),
    ({"prompt_logprobs": 1}, "actor"),
    ({"chat_template_kwargs": {"enable_thinking": False, "model": "demo@v1"}}, "actor"),
    ({"mm_processor_kwargs": {"size": 2}}, "actor"),
    ({"cache_salt": "pepper"}, "actor"),
    ({"of_next_year": {"a": None}}, "critic"),
]


async def test_fields_of_vllm_pass_and_whatever_may_bend_the_distribution_leaves_the_turn_to_the_critic(
    client: openai.AsyncOpenAI, gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    for fields, learnable in VLLM:
        answer = await complete(client, False, extra_body=fields)
        sent = scripted_engine.requests[-1]
        assert {name: sent[name] for name in fields} == fields
        assert sent["model"] == "tiny"
        turn = await turn_of(gateway, answer)
        assert turn["learnable"] == learnable, fields
        assert len(turn["logprobs"]) == len(turn["completion_token_ids"]) == 16


async def test_what_would_break_the_record_or_reach_into_others_requests_is_refused_with_its_name(
    client: openai.AsyncOpenAI, scripted_engine: ScriptedEngine
) -> None:
    refusing: list[Json] = [
        {"n": 2},
        {"best_of": 3},
        {"use_beam_search": True},
        {"echo": True},
        {"add_generation_prompt": False},
        {"continue_final_message": True},
        {"request_id": "another's"},
        {"priority": -5},
        {"kv_transfer_params": {"remote_host": "10.0.0.9"}},
        {"ec_transfer_params": {}},
    ]
    for fields in refusing:
        with pytest.raises(openai.BadRequestError) as refused:
            await complete(client, False, extra_body=fields)
        assert refused.value.param == next(iter(fields))
        assert refused.value.type == "invalid_request_error"
    assert not scripted_engine.requests


NAMES = """
    stream stream_options n logprobs top_logprobs temperature top_p max_tokens max_completion_tokens stop seed
    presence_penalty frequency_penalty logit_bias tools tool_choice parallel_tool_calls response_format metadata
    user store return_token_ids priority echo request_id reasoning_effort unheard_of
"""


async def test_null_says_nothing_wherever_it_may_stand(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    body = {"model": "demo", "messages": HELLO, **dict.fromkeys(NAMES.split())}
    answer = await gateway.chat.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    asked = scripted_engine.requests[-1]
    await gateway.chat.post("/v1/chat/completions", json={"model": "demo", "messages": HELLO})
    assert asked == scripted_engine.requests[-1]


async def test_images_pass_as_they_are_are_known_again_and_teach_no_actor(
    client: openai.AsyncOpenAI, gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 3_000_000}}
    scripted_engine.reply = "a cat"
    seen: Json = {"role": "user", "content": [{"type": "text", "text": "what is it?"}, picture]}
    answer = await complete(client, False, messages=[seen])
    assert scripted_engine.requests[-1]["messages"] == [seen]
    turn = await turn_of(gateway, answer)
    assert (turn["learnable"], turn["messages"]) == ("critic", [seen])
    again: Json = {"role": "user", "content": "and its colour?"}
    history = [seen, answer.choices[0].message.model_dump(), again]
    second = await turn_of(gateway, await complete(client, False, messages=history))
    assert (second["index"], second["messages"], second["learnable"]) == (1, [again], "critic")


async def test_the_limit_on_tokens_that_a_client_names_stands_alone(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    for default in ("max_tokens", "max_completion_tokens"):
        changed = await gateway.admin.patch("/admin/agents/demo", json={"sampling": {default: 500}})
        assert changed.status_code == 200, changed.text
        await asyncio.sleep(0.7)
        for given in ("max_tokens", "max_completion_tokens"):
            await gateway.chat.post("/v1/chat/completions", json={"model": "demo", "messages": HELLO, given: 5})
            sent = scripted_engine.requests[-1]
            assert {name: sent[name] for name in ("max_tokens", "max_completion_tokens") if name in sent} == {given: 5}


async def test_models_are_listed_and_found_one_by_one(client: openai.AsyncOpenAI) -> None:
    listed = [model async for model in client.models.list()]
    assert [model.id for model in listed] == ["demo"]
    assert await client.models.retrieve("demo") == listed[0]
    for unknown in ("nobody", "demo@v1", "../demo", "a/b"):
        with pytest.raises(openai.NotFoundError) as missing:
            await client.models.retrieve(unknown)
        assert missing.value.code == "model_not_found"


async def test_errors_are_openais_own(client: openai.AsyncOpenAI, gateway: RunningGateway) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.chat.completions.create(model="nobody", messages=HELLO)  # type: ignore[list-item]
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="nk_wrong").models.list()
    with pytest.raises(openai.PermissionDeniedError):
        await client.chat.completions.create(model="demo@base", messages=HELLO)  # type: ignore[list-item]
    for method, path, status in (("GET", "/v1/chat/completions", 405), ("POST", "/v1/nothing", 404)):
        answer = await gateway.chat.request(method, path)
        assert answer.status_code == status
        assert answer.json()["error"].keys() == {"message", "type", "code", "param"}
