"""Promotion, rollback and reconciling against engines that really load adapters and answer under them."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from core.domain.adapters import AdapterName, AdapterState
from core.domain.errors import ConflictError, DamagedAdapterError
from core.engine.client import EngineClient
from core.engine.pool import EnginePool, open_pool
from core.rollouts import moving, reconciling
from core.settings import EngineSettings
from core.storage import models
from core.storage.database import Database
from core.storage.repositories import residency
from tests.fixtures.builders import create_adapter, create_agent, create_conversation, create_episode
from tests.fixtures.checksums import sha256_of
from tests.fixtures.engine_process import find_free_port, start_engine, stop_engine, wait_until_healthy
from tests.fixtures.tiny_model import write_tiny_adapter

Register = Callable[[Path], Awaitable[tuple[AdapterName, models.AdapterVersion]]]


@pytest.fixture
async def pool(engine: EngineClient) -> AsyncIterator[EnginePool]:
    async with open_pool(EngineSettings(engine_urls=engine.url)) as opened:
        yield opened


@pytest.fixture
async def agent(database: Database, agent_name: str) -> models.Agent:
    return await create_agent(database, agent_name)


@pytest.fixture
def register(database: Database, agent: models.Agent) -> Register:
    """Makes a folder the agent's next candidate, as the learner does."""

    async def do(folder: Path) -> tuple[AdapterName, models.AdapterVersion]:
        version = await create_adapter(database, agent, path=str(folder), sha256=sha256_of(folder))
        return AdapterName(agent.name, version.number), version

    return do


async def loaded(engine: EngineClient) -> set[str]:
    return set((await engine.models()).adapters)


async def test_a_promoted_version_is_loaded_and_proven_and_a_rollback_leaves_it_loaded(
    database: Database, pool: EnginePool, engine: EngineClient, register: Register, adapter_folders: list[Path]
) -> None:
    first, first_row = await register(adapter_folders[0])
    second, second_row = await register(adapter_folders[1])
    await moving.promote(database, pool, first, by="test", reason="", force=True)
    rollout = await moving.promote(database, pool, second, by="test", reason="", force=True)
    assert (rollout.stable_id, rollout.previous_id) == (second_row.id, first_row.id)
    async with database.transaction() as session:
        events = (await session.scalars(select(models.RolloutEvent).order_by(models.RolloutEvent.generation))).all()
    changes = [event.evidence["probes"][0]["largest_logprob_change"] for event in events]
    assert len(changes) == 2
    assert min(changes) > 0.01

    rollout = await moving.roll_back(database, first.agent, by="test", reason="")
    assert rollout.stable_id == first_row.id
    assert await loaded(engine) == {str(first), str(second)}


async def test_a_lora_that_changes_nothing_is_refused(
    database: Database, pool: EnginePool, register: Register, tiny_model_folder: Path, tmp_path: Path
) -> None:
    fresh = write_tiny_adapter(tmp_path / "fresh", tiny_model_folder, scale=0.0)
    name, row = await register(fresh)
    with pytest.raises(ConflictError, match="answers exactly as the base model") as refused:
        await moving.promote(database, pool, name, by="test", reason="", force=True)
    assert refused.value.code == "probe_failed"
    async with database.transaction() as session:
        assert (await session.get_one(models.AdapterVersion, row.id)).state is AdapterState.CANDIDATE


async def test_a_folder_whose_weights_are_not_those_registered_never_reaches_the_engine(
    database: Database,
    pool: EnginePool,
    engine: EngineClient,
    register: Register,
    adapter_folders: list[Path],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(adapter_folders[0], folder)
    name, _ = await register(folder)
    weights = bytearray((folder / "adapter_model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "adapter_model.safetensors").write_bytes(weights)
    with pytest.raises(DamagedAdapterError, match="checksum"):
        await moving.promote(database, pool, name, by="test", reason="", force=True)
    assert await loaded(engine) == set()


async def test_an_engine_that_lost_its_versions_gets_those_in_use_back_and_gives_up_the_rest(
    database: Database,
    pool: EnginePool,
    engine: EngineClient,
    agent: models.Agent,
    register: Register,
    adapter_folders: list[Path],
) -> None:
    names = [await register(folder) for folder in adapter_folders]
    spoken_with = await create_conversation(database, agent)
    await create_episode(database, spoken_with, adapter=names[0][1])
    for name, _ in names[1:]:
        await moving.promote(database, pool, name, by="test", reason="", force=True)
    async with database.transaction() as session:  # as if the promotions were long ago
        for residency in (await session.scalars(select(models.EngineResidency))).all():
            residency.wanted_until = None
    needed = {str(names[0][0]), str(names[2][0]), str(names[3][0])}

    await reconciling.reconcile(database, pool)
    assert await loaded(engine) == needed
    for name in needed:  # what a restart does
        await engine.unload_adapter(name)
    await reconciling.reconcile(database, pool)
    assert await loaded(engine) == needed


async def test_an_engine_whose_process_restarted_gets_its_versions_back_proved(
    database: Database,
    agent: models.Agent,
    register: Register,
    adapter_folders: list[Path],
    embedded_engine_url: str,
    tiny_model_folder: Path,
    tmp_path: Path,
) -> None:
    port, log = find_free_port(), tmp_path / "engine.log"
    mortal = f"http://127.0.0.1:{port}"
    settings = EngineSettings(engine_urls=f"{embedded_engine_url},{mortal}")
    options = ("--served-model-name", "tiny", "--max-lora-rank", "16")
    name, _ = await register(adapter_folders[0])
    async with open_pool(settings) as pool:
        process = start_engine(tiny_model_folder, port, *options, log=log)
        try:
            await asyncio.to_thread(wait_until_healthy, mortal, process, log)
            await moving.promote(database, pool, name, by="test", reason="", force=True)
            assert await proved_by(database, name) == {embedded_engine_url, mortal}
            process.kill()
            process.wait()
            await reconciling.reconcile(database, pool)  # the other goes on, and nobody waits for this one
            process = start_engine(tiny_model_folder, port, *options, log=log)
            await asyncio.to_thread(wait_until_healthy, mortal, process, log)
            assert await loaded(pool.engines[1].client) == set()
            await reconciling.reconcile(database, pool)
            assert await loaded(pool.engines[1].client) == {str(name)}
            assert await proved_by(database, name) == {embedded_engine_url, mortal}
        finally:
            stop_engine(process)
        await pool.engines[0].client.unload_adapter(str(name))


async def proved_by(database: Database, name: AdapterName) -> set[str]:
    async with database.transaction() as session:
        return {url for url, names in (await residency.list_proved(session)).items() if name in names}
