"""The learner step: what comes out of conversations with an outcome."""

import hashlib
import os
import stat
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from sqlalchemy import select
from transformers import AutoModelForCausalLM

from core.domain.adapters import AdapterName, AdapterState
from core.domain.canaries import EvaluationKind, EvaluationState
from core.domain.conversations import ConversationState
from core.domain.episodes import EpisodeEnd
from core.domain.sampling import Learnable
from core.outcomes import settling
from core.rollouts.loading import WEIGHTS, check_files
from core.settings import StoreSettings
from core.storage import models
from core.storage.database import Database
from core.storage.models import RunState
from core.storage.repositories import adapters, clock, evaluations
from tests.fixtures.builders import (
    create_adapter,
    create_agent,
    create_conversation,
    create_entry,
    create_episode,
    create_turn,
)
from tests.fixtures.conversations import create_matured, create_mixed
from tests.fixtures.runs import QUICK, queue_run, read_run
from tests.fixtures.tiny_model import write_tiny_adapter
from worker.archer.config import ArcherConfig


async def test_a_step_turns_conversations_into_a_candidate_that_answers_otherwise(
    database: Database, agent: models.Agent, step: Any, store: StoreSettings, tiny_model: Path
) -> None:
    conversations = await create_mixed(database, agent, count=4)
    run_id = await queue_run(database, agent)
    await step(run_id)

    run = await read_run(database, run_id)
    assert (run.state, run.reason, run.progress) == (RunState.SUCCEEDED, None, 1.0)
    assert run.lease_holder is None
    assert run.ended_at is not None
    assert run.watermark == max(conversation.matured_at for conversation in conversations if conversation.matured_at)
    async with database.transaction() as session:
        version = await adapters.get_version(session, AdapterName("demo", 1))
        taught = (await session.scalars(select(models.RunTurn).where(models.RunTurn.run_id == run_id))).all()
    assert version.state is AdapterState.CANDIDATE
    assert (version.id, version.run_id) == (run.adapter_id, run_id)
    assert sorted(turn.reward for turn in taught) == [0.0] * 6 + [1.0] * 2
    assert all(turn.trained_actor for turn in taught)
    check_files(version, AdapterName("demo", 1))

    assert version.path is not None
    assert logits(tiny_model, None).shape == logits(tiny_model, version.path).shape
    assert (logits(tiny_model, None) - logits(tiny_model, version.path)).abs().max() > 1e-4


async def test_a_candidate_is_queued_for_its_agent_s_suite_as_that_is_by_then(
    database: Database, agent: models.Agent, step: Any
) -> None:
    async with database.transaction() as session:
        suite = [{"prompt": "Hello", "checks": {"refusal": False}}]
        (await session.get_one(models.Agent, agent.id)).suite = suite
    await create_mixed(database, agent, count=4)
    await step(await queue_run(database, agent))
    async with database.transaction() as session:
        version = await adapters.get_version(session, AdapterName("demo", 1))
        found = await evaluations.newest(session, version.id)
    assert found[EvaluationKind.SUITE].state is EvaluationState.QUEUED


def logits(model_folder: Path, adapter: str | None) -> torch.Tensor:
    """Of a fixed prompt, as a stranger with transformers and peft sees them."""
    model: Any = AutoModelForCausalLM.from_pretrained(model_folder)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    with torch.inference_mode():
        result: torch.Tensor = model(input_ids=torch.tensor([[1, 2, 3, 4]])).logits
    return result


async def test_the_figures_say_what_was_learned_from(database: Database, agent: models.Agent, step: Any) -> None:
    await create_mixed(database, agent, count=4)
    await create_matured(database, agent, reward=1.0, turns=1, learnable=Learnable.CRITIC)
    await create_matured(database, agent, reward=1.0, turns=1, learnable=Learnable.NONE)
    run_id = await queue_run(database, agent)
    await step(run_id)
    run = await read_run(database, run_id)
    assert run.figures is not None
    assert run.figures["conversations"] == run.figures["new_conversations"] == 5  # one has nothing to teach
    assert run.figures["turns_by_learnable"] == {"actor": 8, "critic": 1}
    assert run.figures["staleness"] == {"mean": 0.0, "max": 0}
    assert run.figures["critic_start"] == "fresh"
    assert (run.figures["turns"], run.figures["actor_turns"]) == (9, 8)
    assert set(run.figures["run_seconds"]) == {"render", "load_models", "update", "write"}
    assert run.configuration is not None
    assert (run.configuration["lora_rank"], run.configuration["min_conversations"]) == (2, 4)
    assert run.configuration["preset"] == "modern"
    assert {field.name for field in fields(ArcherConfig)} <= set(run.configuration)


@pytest.mark.parametrize("learnable", [Learnable.ACTOR, Learnable.CRITIC])
async def test_turns_without_log_probs_teach_the_critic_alone_and_are_counted(
    database: Database, agent: models.Agent, step: Any, learnable: Learnable
) -> None:
    await create_mixed(database, agent, count=4)
    conversation = await create_conversation(database, agent, state=ConversationState.MATURED)
    episode = await create_episode(database, conversation, ended_by=EpisodeEnd.CLOSED)
    silent = await create_turn(database, episode, logprobs=[], learnable=learnable)
    await create_turn(database, episode)
    await create_entry(database, conversation, 1.0)
    run_id = await queue_run(database, agent)
    await step(run_id)
    run = await read_run(database, run_id)
    assert run.state is RunState.SUCCEEDED, run.reason
    assert run.figures is not None
    assert (run.figures["turns"], run.figures["actor_turns"]) == (10, 9)
    async with database.transaction() as session:
        taught = (await session.scalars(select(models.RunTurn).where(models.RunTurn.run_id == run_id))).all()
    assert [turn.turn_id for turn in taught if not turn.trained_actor] == [silent.id]


async def test_the_share_of_the_effective_sample_size_is_of_logged_turns(
    database: Database, agent: models.Agent, step: Any
) -> None:
    await create_mixed(database, agent, count=4)
    run_id = await queue_run(database, agent)
    await step(run_id)
    figures = (await read_run(database, run_id)).figures
    assert figures is not None
    assert figures["effective_sample_size_share"] == figures["actor"]["effective_sample_size"] / 8
    assert 0 < figures["effective_sample_size_share"] <= 1


async def test_utterances_that_are_sampled_anew_have_no_effective_sample_size(database: Database, step: Any) -> None:
    fresh = {"actor_utterances": "fresh", "actor_batch_turns": 8, "max_new_tokens": 4, "kl_budget": None}
    agent = await create_agent(database, learner=QUICK | fresh)
    await create_mixed(database, agent, count=4)
    run_id = await queue_run(database, agent)
    await step(run_id)
    run = await read_run(database, run_id)
    assert run.state is RunState.SUCCEEDED, run.reason
    assert run.figures is not None
    assert run.figures["effective_sample_size_share"] is None


async def test_an_adapter_folder_holds_the_two_files_that_loaders_read_and_others_may_read_them(
    database: Database, agent: models.Agent, step: Any, store: StoreSettings
) -> None:
    await create_mixed(database, agent, count=4)
    run_id = await queue_run(database, agent)
    before = os.umask(0o077)
    try:
        await step(run_id)
    finally:
        os.umask(before)
    folder = store.adapters_dir / "demo" / f"v1-{run_id.hex}"
    assert {path.name for path in folder.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert [path.name for path in (store.checkpoints_dir / "demo").iterdir()] == [run_id.hex]
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o750
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o640}


async def test_a_newer_candidate_supersedes_and_the_critic_goes_on_from_the_newest_checkpoint(
    database: Database, agent: models.Agent, step: Any, store: StoreSettings
) -> None:
    runs = []
    for _ in range(3):
        await create_mixed(database, agent, count=4)
        runs.append(await queue_run(database, agent))
        await step(runs[-1])
    newest = await read_run(database, runs[2])
    assert newest.figures is not None
    assert newest.figures["critic_start"] == f"checkpoint of run {runs[1].hex}"
    assert newest.figures["conversations"] == 12
    assert newest.figures["new_conversations"] == 4
    async with database.transaction() as session:
        versions = await adapters.list_versions(session, agent.id)
    assert [(version.number, version.state.value) for version in versions] == [
        (0, "stable"),
        (1, "retired"),
        (2, "retired"),
        (3, "candidate"),
    ]
    assert {path.name for path in (store.checkpoints_dir / "demo").iterdir()} == {runs[1].hex, runs[2].hex}
    assert len(list((store.adapters_dir / "demo").iterdir())) == 3  # versions are for ever


async def test_learning_goes_on_from_the_stable_version(
    database: Database, agent: models.Agent, step: Any, tiny_model: Path, tmp_path: Path
) -> None:
    folder = write_tiny_adapter(tmp_path / "stable", tiny_model, rank=2)
    stable = await create_adapter(
        database, agent, state=AdapterState.STABLE, path=str(folder), sha256=sha256_of(folder / WEIGHTS)
    )
    await create_mixed(database, agent, count=4)
    run_id = await queue_run(database, agent)
    await step(run_id)
    async with database.transaction() as session:
        version = await adapters.get_version(session, AdapterName("demo", 2))
    assert version.parent_id == stable.id
    assert version.path is not None
    moved = (logits(tiny_model, str(folder)) - logits(tiny_model, version.path)).abs().max()
    away = (logits(tiny_model, None) - logits(tiny_model, version.path)).abs().max()
    assert 1e-4 < moved < away / 2


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_an_outcome_that_changed_teaches_the_next_run_first_with_what_it_is_now(
    database: Database, agent: models.Agent, step: Any
) -> None:
    told = await create_mixed(database, agent, count=4)
    await step(await queue_run(database, agent))
    async with database.transaction() as session:
        row = await session.get_one(models.Conversation, told[0].id)
        assert (row.taught_at is not None, row.changed_at) == (True, None)
    await create_entry(database, told[0], 3.0)
    async with database.transaction() as session:
        row = await session.get_one(models.Conversation, told[0].id)
        declared = await settling.metrics_of(session, [row])
        await settling.settle(session, [row], declared, await clock.instant(session), news={row.id})
        assert row.changed_at is not None
    await create_mixed(database, agent, count=3)
    second = await queue_run(database, agent)
    await step(second)
    run = await read_run(database, second)
    assert run.state is RunState.SUCCEEDED
    assert run.figures is not None
    assert (run.figures["drawn"]["changed"], run.figures["drawn"]["fresh"]) == (1, 3)
    async with database.transaction() as session:
        assert (await session.get_one(models.Conversation, told[0].id)).changed_at is None
        turns = await session.scalars(select(models.Turn).where(models.Turn.conversation_id == told[0].id))
        last = max(turns, key=lambda turn: turn.index)
        taught = await session.get_one(models.RunTurn, (second, last.id))
    assert taught.reward == 3.0
