"""The log-probs that an engine logs are those that the learner finds for the same tokens: what every importance ratio
stands on."""

from pathlib import Path

import pytest
import torch

from core.engine.client import EngineClient
from core.engine.generation import Generation
from service.chat.service import PLAIN_SAMPLING
from worker.archer.actor import Actor
from worker.archer.config import ArcherConfig
from worker.archer.rows import build_rows, build_table, collate
from worker.archer.types import Transition

TOLERANCE = 1e-4
"""Nats a token, float32 on both sides: ten times what either engine was off by in 1,536 tokens (9.5e-6). A hundred
tokens that were all off by this much in one direction would move a reply's importance ratio by one in a hundred."""


async def sample(engine: EngineClient, model: str, temperature: float, seed: int) -> Generation:
    generation = Generation()
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Where is my order?"}],
        "max_tokens": 64,
        "seed": seed,
        "ignore_eos": True,
        "logprobs": True,
        "top_logprobs": 0,
        "return_token_ids": True,
    }
    generation.add_answer(await engine.complete(PLAIN_SAMPLING | body | {"temperature": temperature}))
    return generation


def own_logprobs(actor: Actor, generation: Generation, temperature: float) -> list[float]:
    """What the learner's own forward pass says of the same tokens."""
    transition = Transition(
        episode="one",
        observation="",
        utterance=generation.content,
        next_observation=None,
        reward=0.0,
        terminal=True,
        prompt_ids=tuple(generation.prompt_ids),
        completion_ids=tuple(generation.completion_ids),
        behaviour_logprobs=tuple(generation.logprobs),
        temperature=temperature,
        trains_actor=True,
    )
    batch = collate(build_rows([transition], 2048), torch.device("cpu"))
    with torch.no_grad():
        found: list[float] = actor.logprobs(batch, build_table([transition], torch.device("cpu")).temperature).tolist()
    return found


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.6])
async def test_logged_log_probs_are_those_of_the_learners_forward_pass(
    engine: EngineClient,
    tiny_model_folder: Path,
    adapter_folders: list[Path],
    agent_name: str,
    temperature: float,
) -> None:
    name = f"{agent_name}@v1"
    await engine.load_adapter(name, str(adapter_folders[0]))
    actor = Actor.from_pretrained(tiny_model_folder, ArcherConfig(), adapter=adapter_folders[0])
    for seed in range(2):
        generation = await sample(engine, name, temperature, seed)
        own = own_logprobs(actor, generation, temperature)
        assert generation.logprobs == pytest.approx(own, abs=TOLERANCE)
        hotter = own_logprobs(actor, generation, temperature + 0.3)
        assert max(abs(one - other) for one, other in zip(own, hotter, strict=True)) > 100 * TOLERANCE


async def test_a_greedy_reply_is_logged_with_the_log_probs_of_temperature_one(
    engine: EngineClient, tiny_model_folder: Path, adapter_folders: list[Path], agent_name: str
) -> None:
    name = f"{agent_name}@v1"
    await engine.load_adapter(name, str(adapter_folders[0]))
    actor = Actor.from_pretrained(tiny_model_folder, ArcherConfig(), adapter=adapter_folders[0])
    generation = await sample(engine, name, 0.0, 0)
    assert generation.logprobs == pytest.approx(own_logprobs(actor, generation, 1.0), abs=TOLERANCE)
