"""Adapters that were trained elsewhere, over HTTP: registered whole, once, or not at all."""

import asyncio
import hashlib
import shutil
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from core.domain.adapters import AdapterState
from core.domain.ids import new_id
from core.storage import models
from core.storage.database import Database
from service.imports.sites import PREFIX
from tests.fixtures.builders import create_adapter, create_agent, create_key
from tests.fixtures.gateway import RunningGateway, StartGateway, client
from tests.fixtures.loras import PAIR, configuration, framed, weights
from tests.fixtures.scripted_engine import ScriptedEngine

PLACE = "/admin/agents/demo/adapters"
WEIGHTS, CONFIGURATION = "adapter_model.safetensors", "adapter_config.json"


@pytest.fixture(autouse=True)
async def agent(database: Database) -> models.Agent:
    return await create_agent(database, "demo")


def form(config: bytes | None = None, content: bytes | None = None) -> dict[str, tuple[str, bytes]]:
    given = {CONFIGURATION: config or configuration(), WEIGHTS: content or weights()}
    return {name: (name, data) for name, data in given.items()}


async def send(gateway: RunningGateway, files: Any = None, **fields: str) -> httpx.Response:
    return await gateway.admin.post(PLACE, files=files or form(), data=fields)


async def refused(gateway: RunningGateway, adapters_dir: Path, files: Any = None, **fields: str) -> tuple[int, str]:
    """How an upload was refused; nothing of it may be left."""
    answer = await send(gateway, files, **fields)
    assert str(adapters_dir) not in answer.text
    assert files_in(adapters_dir) == []
    return answer.status_code, answer.json()["error"]["code"]


def files_in(adapters_dir: Path) -> list[str]:
    return sorted(str(path.relative_to(adapters_dir)) for path in adapters_dir.rglob("*") if path.is_file())


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def leases(database: Database) -> list[str]:
    async with database.transaction() as session:
        return list(await session.scalars(select(models.Lease.name).where(models.Lease.name.startswith(PREFIX))))


async def test_an_upload_becomes_the_newest_candidate(
    gateway: RunningGateway, database: Database, agent: models.Agent, adapters_dir: Path
) -> None:
    older = await create_adapter(database, agent)
    answer = await send(gateway, name="from the cluster")
    assert answer.status_code == 201, answer.text
    made = answer.json()
    digest = hashlib.sha256(weights()).hexdigest()
    assert (made["adapter"], made["state"], made["parent"], made["run_id"]) == ("demo@v2", "candidate", None, None)
    assert made["sha256"] == digest
    assert (made["evidence"]["imported"]["name"], made["evidence"]["imported"]["layers"]) == ("from the cluster", 1)
    assert made["evidence"]["imported"]["by"].startswith("key_")
    folder = Path(made["path"])
    assert folder.parent == adapters_dir / "demo"
    assert (folder / WEIGHTS).read_bytes() == weights()
    assert (folder / CONFIGURATION).read_bytes() == configuration()
    assert (mode(folder), mode(folder / WEIGHTS)) == (0o750, 0o640)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    async with database.transaction() as session:
        assert (await session.get_one(models.AdapterVersion, older.id)).state is AdapterState.RETIRED
    assert await leases(database) == []


async def test_the_same_files_again_are_the_same_version(gateway: RunningGateway, adapters_dir: Path) -> None:
    first, again = await send(gateway), await send(gateway)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert len(files_in(adapters_dir)) == 2


async def test_the_same_weights_scaled_otherwise_are_another_version(gateway: RunningGateway) -> None:
    first = await send(gateway)
    other = await send(gateway, form(configuration(lora_alpha=64)))
    assert [first.json()["adapter"], other.json()["adapter"]] == ["demo@v1", "demo@v2"]


async def test_uploads_of_the_same_adapter_at_once_are_one_version(
    gateway: RunningGateway, database: Database, adapters_dir: Path
) -> None:
    answers = await asyncio.gather(*(send(gateway) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 201]
    assert {answer.json()["adapter"] for answer in answers} == {"demo@v1"}
    assert len(files_in(adapters_dir)) == 2
    assert await leases(database) == []


async def test_a_declared_checksum_is_compared(gateway: RunningGateway, adapters_dir: Path) -> None:
    assert await refused(gateway, adapters_dir, sha256="0" * 64) == (422, "adapter_damaged")
    answer = await send(gateway, sha256=hashlib.sha256(weights()).hexdigest().upper())
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("files", "code"),
    [
        (form(configuration(base_model_name_or_path="large")), "base_model_differs"),
        (form(configuration(base_model_name_or_path=None)), "base_model_unknown"),
        (form(configuration(use_dora=True)), "adapter_unsuitable"),
        (form(content=weights()[:-3]), "adapter_unsuitable"),
        (form(content=framed(b"[" * 100_000)), "adapter_unsuitable"),
        (form(content=(2**63).to_bytes(8, "little")), "adapter_unsuitable"),
        ({CONFIGURATION: (CONFIGURATION, configuration())}, "invalid_value"),
        ({WEIGHTS: (WEIGHTS, weights())}, "invalid_value"),
        (form() | {"adapter_model.bin": ("adapter_model.bin", b"cos\nsystem\n")}, "invalid_value"),
        (form() | {"../../evil": ("../../evil", b"x")}, "invalid_value"),
        (form() | {CONFIGURATION: ("../../../etc/passwd", configuration())}, "invalid_value"),
        (form() | {WEIGHTS: ("Gewichte-ü.safetensors", weights())}, "invalid_value"),
        ([*form().items(), (WEIGHTS, (WEIGHTS, weights()))], "invalid_value"),
        (form(config=b"{" + b" " * 1024 * 1024 + b"}"), "invalid_value"),
        (form() | {"sha256": (None, b"0" * 65)}, "invalid_value"),
        (form() | {"name": (None, b"\xff")}, "invalid_value"),
        (form() | {"name": (None, b"a\x00b")}, "invalid_value"),
    ],
)
async def test_what_is_no_servable_adapter_is_refused_and_leaves_nothing(
    gateway: RunningGateway, database: Database, adapters_dir: Path, files: Any, code: str
) -> None:
    assert await refused(gateway, adapters_dir, files) == (422, code)
    assert await leases(database) == []


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 422),
        ("application/x-tar", b"x" * 512, 422),
        ("multipart/form-data", b"x", 422),
        ("multipart/mixed; boundary=x", b"--x--\r\n", 422),
        ("multipart/form-data; boundary=x", b"", 400),
        ("multipart/form-data; boundary=x", b"nonsense", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n", 400),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"a: b\r\n" * 50 + b"\r\n", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: " + b"a" * 9000, 400),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nno name\r\n--x--\r\n", 422),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 422),
        (f"multipart/form-data; boundary={'x' * 300}", b"--x--\r\n", 400),
    ],
)
async def test_a_body_that_is_no_form_is_refused(
    gateway: RunningGateway, adapters_dir: Path, content_type: str, body: bytes, status: int
) -> None:
    answer = await gateway.admin.post(PLACE, content=body, headers={"Content-Type": content_type})
    assert answer.status_code == status, answer.text
    assert files_in(adapters_dir) == []


async def test_an_unknown_agent_is_not_found_and_another_tenant_s_neither(
    gateway: RunningGateway, database: Database, adapters_dir: Path
) -> None:
    for name in ("nobody", "..", "..%2F..%2Ftmp"):
        answer = await gateway.admin.post(f"/admin/agents/{name}/adapters", files=form())
        assert answer.status_code in (404, 405), answer.text
    secret, _ = await create_key(database, agents=["other"])
    async with client(gateway.url, secret) as stranger:
        assert (await stranger.post(PLACE, files=form())).status_code == 404
    assert files_in(adapters_dir) == []


async def test_only_this_path_takes_large_bodies_and_it_has_a_limit_too(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, adapters_dir: Path
) -> None:
    large = form(content=weights({name: [2, 80_000] if "A" in name else [80_000, 2] for name in PAIR}))
    async with start_gateway(scripted_engine.url, max_body_bytes=1024, adapter_bytes=2_000_000) as gateway:
        assert (await send(gateway, large)).status_code == 201
        elsewhere = await gateway.admin.post("/admin/agents", files=large)
        assert (elsewhere.status_code, elsewhere.json()["error"]["code"]) == (413, "request_too_large")
    shutil.rmtree(adapters_dir)
    async with start_gateway(scripted_engine.url, adapter_bytes=100_000) as gateway:
        assert await refused(gateway, adapters_dir, large) == (413, "request_too_large")

        async def endless() -> AsyncIterator[bytes]:
            yield b'--x\r\nContent-Disposition: form-data; name="adapter_model.safetensors"\r\n\r\n'
            for _ in range(200):
                yield b"x" * 1024

        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = await gateway.admin.post(PLACE, content=endless(), headers=headers)
        assert answer.status_code == 413
        assert files_in(adapters_dir) == []


async def test_an_upload_that_breaks_off_leaves_nothing(
    gateway: RunningGateway, database: Database, adapters_dir: Path
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="adapter_model.safetensors"\r\n\r\n' + b"x" * 3_000_000
        await until(lambda: files_in(adapters_dir) != [])
        raise ConnectionError

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    with pytest.raises(ConnectionError):
        await gateway.admin.post(PLACE, content=broken(), headers=headers)
    await until(lambda: files_in(adapters_dir) == [])
    await send(gateway)
    assert await leases(database) == []


async def test_a_folder_that_cannot_be_written_is_told_without_its_path(
    gateway: RunningGateway, adapters_dir: Path
) -> None:
    (adapters_dir.parent / "a file").write_text("where the folder should be")
    (adapters_dir.parent / "a file").rename(adapters_dir)
    answer = await send(gateway)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "adapter_store_failed")
    assert str(adapters_dir) not in answer.text


async def test_what_a_killed_import_left_is_swept_by_the_next_and_nothing_else(
    gateway: RunningGateway, database: Database, adapters_dir: Path
) -> None:
    dead, living, stranger = new_id(), new_id(), new_id()
    place = adapters_dir / "demo"
    for name in (
        f".unfinished-{dead.hex}-{new_id().hex}",
        f"v1-{dead.hex}",
        f".unfinished-{living.hex}-{new_id().hex}",
        f".unfinished-{stranger.hex}-{new_id().hex}",
    ):
        (place / name).mkdir(parents=True)
    async with database.transaction() as session:
        for import_id in (dead, living):
            name = f"{PREFIX}demo:{import_id.hex}"
            session.add(models.Lease(name=name, holder=new_id(), until=datetime(2100, 1, 1, tzinfo=UTC)))
    first = (await send(gateway)).json()
    async with database.transaction() as session:
        lapsed = update(models.Lease).where(models.Lease.name.endswith(dead.hex))
        await session.execute(lapsed.values(until=datetime(2020, 1, 1, tzinfo=UTC)))
    await send(gateway)
    left = {path.name for path in place.iterdir()}
    assert not any(dead.hex in name for name in left)
    assert sum(living.hex in name or stranger.hex in name for name in left) == 2
    assert Path(first["path"]).name in left
    assert await leases(database) == [f"{PREFIX}demo:{living.hex}"]


async def test_a_version_whose_commit_was_not_heard_of_is_kept_by_the_sweep(
    gateway: RunningGateway, database: Database, agent: models.Agent
) -> None:
    made = (await send(gateway)).json()
    async with database.transaction() as session:
        version = (await session.scalars(select(models.AdapterVersion).where(models.AdapterVersion.number == 1))).one()
        name = f"{PREFIX}demo:{version.id.hex}"
        session.add(models.Lease(name=name, holder=new_id(), until=datetime(2020, 1, 1, tzinfo=UTC)))
    await send(gateway)
    assert (Path(made["path"]) / WEIGHTS).is_file()
    assert await leases(database) == []
