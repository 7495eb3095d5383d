"""What Nock relies on in an engine, asked of the embedded engine and of a real vLLM in the same words."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from core.domain.errors import EngineError, EngineRefusedError
from core.engine.client import AdapterNotLoadedError, EngineClient
from core.engine.generation import Generation
from service.chat.service import PLAIN_SAMPLING
from tests.fixtures.tiny_model import CONTEXT, write_tiny_adapter

Json = dict[str, Any]
Load = Callable[[int], Awaitable[str]]

END_OF_TURN = 258


@pytest.fixture
def load(engine: EngineClient, adapter_folders: list[Path], agent_name: str) -> Load:
    """Loads the adapter of that number as a version; its name."""

    async def do(number: int) -> str:
        name = f"{agent_name}@v{number + 1}"
        await engine.load_adapter(name, str(adapter_folders[number]))
        return name

    return do


def asking(model: str = "tiny", say: str = "Where is my order?", **fields: Any) -> Json:
    """A request as the gateway sends it."""
    ours = {"logprobs": True, "top_logprobs": 0, "return_token_ids": True}
    messages = [{"role": "user", "content": say}]
    return PLAIN_SAMPLING | {"max_tokens": 32, "model": model, "messages": messages} | ours | fields


async def whole(engine: EngineClient, body: Json) -> Generation:
    generation = Generation()
    generation.add_answer(await engine.complete(body))
    return generation


async def streamed(engine: EngineClient, body: Json) -> Generation:
    generation = Generation()
    async for chunk in engine.stream(body | {"stream_options": {"include_usage": True}}):
        generation.add_chunk(chunk)
    return generation


async def running(engine_url: str) -> float:
    """How many requests the engine says that it works on."""
    async with aiohttp.ClientSession() as session, session.get(f"{engine_url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("vllm:num_requests_running"))


async def test_models_name_the_base_its_context_and_each_adapter_with_its_folder(
    engine: EngineClient, load: Load, adapter_folders: list[Path]
) -> None:
    name = await load(0)
    models = await engine.models()
    assert (models.base, models.context) == ("tiny", CONTEXT)
    assert models.adapters == {name: str(adapter_folders[0])}


async def test_a_version_that_two_sides_load_at_once_is_loaded(engine: EngineClient, load: Load) -> None:
    first, second = await asyncio.gather(load(0), load(0))
    assert first == second == await load(0)
    assert list((await engine.models()).adapters) == [first]


async def test_a_version_that_two_sides_unload_at_once_is_gone(engine: EngineClient, load: Load) -> None:
    name = await load(0)
    await asyncio.gather(engine.unload_adapter(name), engine.unload_adapter(name))
    await engine.unload_adapter(name)
    assert (await engine.models()).adapters == {}
    with pytest.raises(AdapterNotLoadedError):
        await engine.complete(asking(name))


async def test_a_name_nobody_loaded_is_refused_whole_and_streamed(engine: EngineClient) -> None:
    with pytest.raises(AdapterNotLoadedError):
        await engine.complete(asking("nobody@v1"))
    with pytest.raises(AdapterNotLoadedError):
        await streamed(engine, asking("nobody@v1"))


async def test_a_folder_without_an_adapter_is_refused_and_the_engine_goes_on(
    engine: EngineClient, agent_name: str, tmp_path: Path
) -> None:
    with pytest.raises(EngineError):
        await engine.load_adapter(f"{agent_name}@v1", str(tmp_path / "nothing"))
    assert (await engine.models()).adapters == {}
    assert (await whole(engine, asking())).completion_ids


async def test_an_adapter_of_too_high_a_rank_is_refused_and_the_engine_goes_on(
    engine: EngineClient, agent_name: str, tiny_model_folder: Path, tmp_path: Path
) -> None:
    folder = write_tiny_adapter(tmp_path / "wide", tiny_model_folder, rank=32)
    with pytest.raises(EngineError):
        await engine.load_adapter(f"{agent_name}@v1", str(folder))
    assert (await engine.models()).adapters == {}
    assert (await whole(engine, asking())).completion_ids


@pytest.mark.parametrize("ask", [whole, streamed])
async def test_a_reply_has_its_tokens_their_log_probs_and_a_count_of_them(
    engine: EngineClient, load: Load, ask: Callable[[EngineClient, Json], Awaitable[Generation]]
) -> None:
    generation = await ask(engine, asking(await load(0), seed=3, ignore_eos=True))
    assert generation.finish_reason == "length"
    assert len(generation.completion_ids) == len(generation.logprobs) == 32
    assert all(logprob <= 0 for logprob in generation.logprobs)
    assert generation.usage is not None
    assert generation.token_usage() == {
        "prompt_tokens": len(generation.prompt_ids),
        "completion_tokens": 32,
        "total_tokens": len(generation.prompt_ids) + 32,
    }


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_a_stream_says_what_a_whole_answer_of_the_same_seed_says(
    engine: EngineClient, load: Load, temperature: float
) -> None:
    for model in ("tiny", await load(0)):
        body = asking(model, seed=11, temperature=temperature)
        at_once, in_pieces = await whole(engine, body), await streamed(engine, body)
        assert in_pieces.completion_ids == at_once.completion_ids
        assert in_pieces.logprobs == pytest.approx(at_once.logprobs, abs=1e-4)
        assert in_pieces.prompt_ids == at_once.prompt_ids
        assert in_pieces.content == at_once.content
        assert in_pieces.finish_reason == at_once.finish_reason
        assert in_pieces.token_usage() == at_once.token_usage()


async def test_versions_answer_otherwise_than_the_base_and_each_other_and_the_same_in_one_batch(
    engine: EngineClient, load: Load
) -> None:
    models = ["tiny", *[await load(number) for number in range(3)]]
    alone = [await whole(engine, asking(model, temperature=0)) for model in models]
    assert len({tuple(generation.completion_ids) for generation in alone}) == len(models)
    together = await asyncio.gather(*(whole(engine, asking(model, temperature=0)) for model in models * 2))
    for generation, expected in zip(together, alone * 2, strict=True):
        assert generation.completion_ids == expected.completion_ids
        assert generation.logprobs == pytest.approx(expected.logprobs, abs=1e-4)


async def test_the_token_that_ends_a_reply_is_logged_with_its_log_prob(engine: EngineClient) -> None:
    bodies = [asking(seed=seed, temperature=1.5, max_tokens=200) for seed in range(8)]
    generations = [
        g for ask in (whole, streamed) for g in await asyncio.gather(*(ask(engine, body) for body in bodies))
    ]
    ended = [generation for generation in generations if generation.finish_reason == "stop"]
    assert ended
    for generation in ended:
        assert generation.completion_ids[-1] == END_OF_TURN
        assert END_OF_TURN not in generation.completion_ids[:-1]
        assert len(generation.logprobs) == len(generation.completion_ids)
        assert generation.token_usage()["completion_tokens"] == len(generation.completion_ids)
        assert "<|im_end|>" not in generation.content


@pytest.mark.parametrize("ask", [whole, streamed])
async def test_the_tokens_of_a_stop_string_are_logged_and_its_text_is_not_said(
    engine: EngineClient, ask: Callable[[EngineClient, Json], Awaitable[Generation]]
) -> None:
    body = asking(seed=5, temperature=0.0)
    free = await whole(engine, body)
    letters = [place for place, letter in enumerate(free.content) if letter.isascii() and letter.isprintable()]
    stop = free.content[letters[-1]]
    place = free.content.index(stop)
    stopped = await ask(engine, body | {"stop": [stop]})
    assert stopped.finish_reason == "stop"
    assert stopped.content == free.content[:place]
    assert stopped.completion_ids == free.completion_ids[: len(stopped.completion_ids)]
    assert len(stopped.completion_ids) > place  # a token is a byte: at most one letter
    assert len(stopped.logprobs) == len(stopped.completion_ids)


async def test_a_prompt_beyond_the_context_is_refused_with_the_limit(engine: EngineClient) -> None:
    with pytest.raises(EngineRefusedError, match=str(CONTEXT)):
        await engine.complete(asking(say="x" * 3000))
    with pytest.raises(EngineRefusedError, match=str(CONTEXT)):
        await streamed(engine, asking(say="x" * 3000))


async def test_the_likeliest_first_tokens_are_listed_where_the_first_is_the_likeliest(engine: EngineClient) -> None:
    answer = await engine.complete(asking(max_tokens=1, temperature=0, top_logprobs=5))
    (token,) = answer["choices"][0]["logprobs"]["content"]
    listed = [one["logprob"] for one in token["top_logprobs"]]
    assert len(listed) == 5
    assert listed == sorted(listed, reverse=True)
    assert listed[0] == token["logprob"]


async def test_a_client_that_hangs_up_frees_its_place(engine: EngineClient, engine_url: str) -> None:
    async with aclosing(engine.stream(asking(max_tokens=1900, ignore_eos=True))) as chunks:
        await anext(chunks)
        await anext(chunks)
        assert await running(engine_url) == 1
    hung_up = time.monotonic()
    while await running(engine_url):
        assert time.monotonic() - hung_up < 5


async def test_replies_go_on_while_versions_are_loaded_and_their_own_is_unloaded(
    engine: EngineClient, engine_url: str, load: Load
) -> None:
    name = await load(0)
    body = asking(name, seed=1, max_tokens=500, ignore_eos=True)
    undisturbed = await whole(engine, body | {"max_tokens": 100})
    async with aclosing(engine.stream(body)) as chunks:
        generation = Generation()
        generation.add_chunk(await anext(chunks))
        others = [await load(number) for number in (1, 2)]
        await engine.unload_adapter(name)
        assert set((await engine.models()).adapters) == set(others)
        assert await running(engine_url) == 1  # or the test would not see what it is for
        async for chunk in chunks:
            generation.add_chunk(chunk)
    assert len(generation.completion_ids) == 500
    assert generation.completion_ids[:100] == undisturbed.completion_ids
