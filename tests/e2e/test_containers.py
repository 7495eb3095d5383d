"""The compose file's own commands, environments and health checks, as plain processes: a stack comes up by them."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.domain.keys import new_secret
from tests.fixtures.compose import ROOT
from tests.fixtures.containers import Containers
from tests.fixtures.engine_process import find_free_port
from tests.fixtures.tiny_model import write_tiny_model

SEALED = ("migrate", "gateway", "worker-cpu", "beat")


@pytest.fixture
def containers(tmp_path: Path, empty_database_url: str) -> Iterator[Containers]:
    """The profile `cpu` on a tiny model; Postgres alone is not of the compose file."""
    volumes = tmp_path / "volumes"
    shutil.copytree(ROOT / "agents", volumes / "agents")
    write_tiny_model(volumes / "models" / "tiny")
    gateway, engine, redis = find_free_port(), find_free_port(), find_free_port()
    replaced = {
        "postgresql+psycopg://nock@postgres/nock": empty_database_url,
        "exec redis-server ": f"exec redis-server --bind 127.0.0.1 --port {redis} --dir {tmp_path} ",
        "redis-cli ": f"redis-cli -p {redis} ",
        "@redis:6379": f"@127.0.0.1:{redis}",
        "http://engine:8000": f"http://127.0.0.1:{engine}",
        "http://127.0.0.1:8000/healthz": f"http://127.0.0.1:{gateway}/healthz",
        "http://127.0.0.1:8000/health'": f"http://127.0.0.1:{engine}/health'",
        "--port=8000": f"--port={engine}",
        "0.0.0.0": "127.0.0.1",
        "/var/lib/nock": str(volumes),
        "--calibration-file=/tmp/engine-calibration.json": "--dtype=float32",  # measuring would take ten seconds
    }
    given = {"NOCK_MODEL": "tiny", "NOCK_BOOTSTRAP_ADMIN_KEY": new_secret(), "NOCK_SECRET": new_secret()}
    started = Containers(volumes / "models", given, replaced)
    started.services["gateway"]["environment"]["NOCK_PORT"] = str(gateway)
    yield started
    started.close()


def test_a_stack_comes_up_by_the_commands_of_the_compose_file(containers: Containers) -> None:
    containers.start("redis")
    containers.start("engine-cpu")
    migrated = containers.run("migrate")
    assert migrated.returncode == 0, migrated.stderr
    for service in ("gateway", "worker-cpu", "learner-cpu", "beat"):
        containers.start(service)
    for service in ("redis", "engine-cpu", "gateway", "worker-cpu", "learner-cpu"):  # the slowest first
        containers.wait_until_healthy(service, seconds=180)

    admin = containers.given["NOCK_BOOTSTRAP_ADMIN_KEY"]
    applied = containers.run("gateway", "nock", "agents", "apply", "../agents/demo.yaml", NOCK_API_KEY=admin)
    assert (applied.returncode, applied.stdout) == (0, "demo: created\n"), applied.stderr
    created = containers.run("gateway", "nock", "keys", "create", "--scope", "chat", NOCK_API_KEY=admin)
    assert created.returncode == 0, created.stderr
    said = containers.run("gateway", "nock", "chat", "demo", "-m", "Hello", NOCK_API_KEY=created.stdout.strip())
    assert said.returncode == 0, said.stderr
    assert "by demo@base" in said.stderr

    # Gateway, Postgres, beat, background worker, Redis, learner and back: the one way on which all of them stand.
    learned = containers.run("gateway", "nock", "learn", "demo", "--wait", NOCK_API_KEY=admin)
    assert learned.returncode == 0, learned.stderr + containers.log("learner-cpu")
    assert "skipped: 0 matured conversations, 8 are needed" in learned.stdout
    for service in ("gateway", "worker-cpu", "learner-cpu", "beat"):
        assert '"level": "error"' not in containers.log(service), containers.log(service)[-3000:]

    assert containers.stop("gateway") in (0, 128 + signal.SIGTERM)  # drained, then ended as it was asked to
    for service in SEALED:
        assert list(containers.home(service).rglob("*")) == [], f"{service} writes where its container may not"
