"""The embedded engine's own promises about a chat completion, over HTTP."""

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from openai import AsyncOpenAI, BadRequestError, NotFoundError
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.fixtures.tiny_model import CONTEXT

HELLO = [{"role": "user", "content": "Hello, who are you?"}]


@pytest.fixture
async def client(embedded_engine_url: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{embedded_engine_url}/v1", api_key="none", max_retries=0, timeout=120) as openai:
        yield openai


async def post(url: str, **body: Any) -> httpx.Response:
    async with httpx.AsyncClient(timeout=120) as http:
        return await http.post(f"{url}/v1/chat/completions", json={"messages": HELLO, "max_tokens": 8} | body)


async def complete(url: str, **body: Any) -> dict[str, Any]:
    answer = await post(url, return_token_ids=True, logprobs=True, **body)
    assert answer.status_code == 200, answer.text
    parsed: dict[str, Any] = answer.json()
    return parsed


def token_ids(answer: dict[str, Any]) -> list[int]:
    ids: list[int] = answer["choices"][0]["token_ids"]
    return ids


def logprobs(answer: dict[str, Any]) -> list[float]:
    return [entry["logprob"] for entry in answer["choices"][0]["logprobs"]["content"]]


async def test_the_openai_client_reads_a_whole_answer(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=5, logprobs=True)  # type: ignore[arg-type]
    assert answer.choices[0].finish_reason in ("length", "stop")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.content is not None
    assert len(answer.choices[0].logprobs.content) == answer.usage.completion_tokens


async def test_the_openai_client_reads_a_stream(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="tiny",
        messages=HELLO,  # type: ignore[arg-type]
        max_tokens=6,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"return_token_ids": True, "ignore_eos": True},
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].model_extra is not None
    assert chunks[0].model_extra["prompt_token_ids"]
    finishes = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    assert finishes.count("length") == 1
    assert finishes[-1] == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 6


async def test_the_openai_client_sees_typed_errors(client: AsyncOpenAI) -> None:
    with pytest.raises(NotFoundError, match="`nobody` does not exist"):
        await client.chat.completions.create(model="nobody", messages=HELLO)  # type: ignore[arg-type]
    with pytest.raises(BadRequestError, match="tools"):
        await client.chat.completions.create(
            model="tiny",
            messages=HELLO,  # type: ignore[arg-type]
            tools=[{"type": "function", "function": {"name": "f"}}],
        )


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 1.0), (1.4, 0.7)])
async def test_log_probs_are_of_the_distribution_that_was_sampled_from(
    embedded_engine_url: str, tiny_model_folder: Path, temperature: float, top_p: float
) -> None:
    answer = await complete(embedded_engine_url, temperature=temperature, top_p=top_p, seed=4, max_tokens=40)
    tokens = token_ids(answer)
    network = AutoModelForCausalLM.from_pretrained(tiny_model_folder).eval()
    with torch.inference_mode():
        logits = network(input_ids=torch.tensor([answer["prompt_token_ids"] + tokens])).logits[0]
    scaled = logits[len(answer["prompt_token_ids"]) - 1 : -1] / temperature
    for place, (token, logprob) in enumerate(zip(tokens, logprobs(answer), strict=True)):
        probabilities = sorted(((float(p), i) for i, p in enumerate(scaled[place].softmax(-1))), reverse=True)
        nucleus: dict[int, float] = {}
        for probability, index in probabilities:
            if top_p < 1 and sum(nucleus.values()) >= top_p:
                break
            nucleus[index] = probability
        assert logprob == pytest.approx(math.log(nucleus[token] / sum(nucleus.values())), abs=1e-3)


async def test_the_prompt_is_what_the_models_own_template_makes(
    embedded_engine_url: str, tiny_model_folder: Path
) -> None:
    messages = [{"role": "system", "content": "Be brief."}, *HELLO]
    answer = await complete(embedded_engine_url, messages=messages)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert answer["prompt_token_ids"] == expected
    assert answer["usage"]["prompt_tokens"] == len(expected)


async def test_a_seed_gives_the_same_tokens_whatever_else_is_in_the_batch(embedded_engine_url: str) -> None:
    wanted: dict[str, Any] = {"seed": 12, "temperature": 1.0, "max_tokens": 40, "ignore_eos": True}
    alone = await complete(embedded_engine_url, **wanted)
    crowd = [
        complete(embedded_engine_url, messages=[{"role": "user", "content": "x" * 50 * n}], max_tokens=10 * n)
        for n in range(1, 6)
    ]
    together, *_ = await asyncio.gather(complete(embedded_engine_url, **wanted), *crowd)
    assert token_ids(together) == token_ids(alone)
    other = await complete(embedded_engine_url, **wanted | {"seed": 13})
    assert token_ids(other) != token_ids(alone)


async def test_without_a_limit_a_reply_may_fill_the_context(embedded_engine_url: str) -> None:
    content = "x" * (CONTEXT - 60)
    answer = await complete(
        embedded_engine_url, messages=[{"role": "user", "content": content}], max_tokens=None, ignore_eos=True
    )
    assert answer["usage"]["total_tokens"] == CONTEXT
    assert answer["choices"][0]["finish_reason"] == "length"


async def test_a_reply_is_at_least_as_long_as_asked_for(embedded_engine_url: str) -> None:
    answers = await asyncio.gather(
        *(
            complete(embedded_engine_url, seed=seed, temperature=2.0, min_tokens=100, max_tokens=120)
            for seed in range(8)
        )
    )
    assert all(len(token_ids(answer)) >= 100 for answer in answers)


async def test_a_stop_token_id_ends_the_reply_and_is_named(embedded_engine_url: str) -> None:
    free = await complete(embedded_engine_url, temperature=0, max_tokens=20)
    stop = token_ids(free)[7]
    answer = await complete(embedded_engine_url, temperature=0, max_tokens=20, stop_token_ids=[stop])
    first = token_ids(free).index(stop)
    assert token_ids(answer) == token_ids(free)[: first + 1]
    assert (answer["choices"][0]["finish_reason"], answer["choices"][0]["stop_reason"]) == ("stop", stop)


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"model": "nobody"}, 404, "`nobody` does not exist"),
        ({"messages": []}, 400, "messages"),
        ({"messages": "hi"}, 400, "messages"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"max_tokens": CONTEXT + 1}, 400, str(CONTEXT)),
        ({"min_tokens": 9}, 400, "min_tokens"),
        ({"temperature": -1}, 400, "temperature"),
        ({"temperature": 2.5}, 400, "temperature"),
        ({"top_p": 0}, 400, "top_p"),
        ({"top_k": -2}, 400, "top_k"),
        ({"seed": 2**63}, 400, "seed"),
        ({"stop": [""]}, 400, "empty string"),
        ({"stop_token_ids": [99999]}, 400, "stop_token_ids"),
        ({"n": 2}, 400, "`n`"),
        ({"chat_template_kwargs": {"chat_template": "{{ 1 }}"}}, 400, "chat_template_kwargs"),
        ({"chat_template_kwargs": {"padding": True, "max_length": 10**12}}, 400, "chat_template_kwargs"),
        ({"logit_bias": {"1": 1}}, 400, "logit_bias"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format"),
        ({"messages": [{"role": "user", "content": "x" * 3000}]}, 400, f"maximum context length is {CONTEXT} tokens"),
    ],
)
async def test_bad_input_is_refused_in_vllms_words(
    embedded_engine_url: str, body: dict[str, Any], status: int, told: str
) -> None:
    for stream in (False, True):
        answer = await post(embedded_engine_url, stream=stream, **body)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (status, status)
        assert told in error["message"]
        assert set(error) == {"message", "type", "param", "code"}


async def test_what_is_no_json_is_refused(embedded_engine_url: str) -> None:
    async with httpx.AsyncClient() as http:
        for content in (b"{", b"[]", b'"a"', b""):
            headers = {"content-type": "application/json"}
            answer = await http.post(f"{embedded_engine_url}/v1/chat/completions", content=content, headers=headers)
            assert answer.status_code == 400
            assert answer.json()["error"]["type"] == "Bad Request"
        assert (await http.get(f"{embedded_engine_url}/v1/nothing")).status_code == 404
        assert (await http.get(f"{embedded_engine_url}/v1/chat/completions")).status_code == 405
