"""What the containers are told exists in the code: variables, paths, ports, routes, the model's name."""

import importlib.util
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from core.settings import (
    ENGINE_ROOM,
    AdapterStoreSettings,
    DatabaseSettings,
    EngineSettings,
    LogSettings,
    RedisSettings,
    SecretSettings,
    Settings,
    StoreSettings,
)
from engine.__main__ import read_options
from engine.routes import router as engine_router
from service.app import create_app
from service.settings import GatewaySettings
from tests.fixtures.compose import REQUIRED, command_of, environment_of, load_compose
from tests.fixtures.settings import fields_of, settings_classes
from tests.fixtures.vllm_process import VLLM_PYTHON
from worker.settings import BeatSettings, LearnerSettings, WebhookSettings

SERVICES: dict[str, dict[str, Any]] = load_compose()["services"]
ENGINES = ("engine-gpu", "engine-cpu")
LEARNERS = ("worker-gpu", "learner-cpu")
ADAPTERS = "/var/lib/nock/adapters"

READS: dict[str, tuple[type[Settings], ...]] = {
    "migrate": (DatabaseSettings,),
    "gateway": (
        DatabaseSettings,
        SecretSettings,
        EngineSettings,
        AdapterStoreSettings,
        LogSettings,
        GatewaySettings,
    ),
    "worker-cpu": (
        DatabaseSettings,
        SecretSettings,
        RedisSettings,
        EngineSettings,
        LogSettings,
        BeatSettings,
        WebhookSettings,
    ),
    "beat": (RedisSettings, LogSettings, BeatSettings),
    "worker-gpu": (DatabaseSettings, RedisSettings, StoreSettings, LogSettings, BeatSettings, LearnerSettings),
    "learner-cpu": (DatabaseSettings, RedisSettings, StoreSettings, LogSettings, BeatSettings, LearnerSettings),
}


def our_variables(service: str) -> set[str]:
    return {name for name in SERVICES[service].get("environment", {}) if name.startswith("NOCK_")}


def options_of(command: list[str]) -> dict[str, str]:
    """The options that are written as --name=value."""
    pairs = (word.split("=", 1) for word in command if word.startswith("--") and "=" in word)
    return {name: value for name, value in pairs}


def mounts(service: str) -> dict[str, tuple[str, bool]]:
    """Where each volume is seen, and whether it may be written to."""
    found = {}
    for mount in SERVICES[service].get("volumes", []):
        source, path, *mode = mount.split(":")
        found[source] = (path, mode != ["ro"])
    return found


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_variable_of_ours_is_a_setting(service: str) -> None:
    assert our_variables(service) <= fields_of(*settings_classes())


@pytest.mark.parametrize("service", sorted(READS))
def test_every_setting_that_a_process_reads_can_be_set(service: str) -> None:
    only_for_a_pool = set() if service == "gateway" else {"NOCK_DATABASE_POOL"}
    assert fields_of(*READS[service]) - our_variables(service) == only_for_a_pool & fields_of(*READS[service])


def test_what_is_set_for_a_container_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    for service, classes in READS.items():
        with monkeypatch.context() as context:
            for name in [name for name in os.environ if name.startswith("NOCK_")]:
                context.delenv(name)
            for name, value in environment_of(SERVICES[service], REQUIRED).items():
                context.setenv(name, value)
            for each in classes:
                each()


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_the_module_that_a_command_runs_exists(service: str) -> None:
    command = command_of(SERVICES[service])
    if command[:2] in (["python", "-m"], ["python3", "-m"]) and not command[2].startswith("vllm."):
        assert importlib.util.find_spec(command[2]) is not None
    else:
        assert service in ("postgres", "redis", "prometheus", "grafana", "model-gpu", "model-cpu", "engine-gpu")


def test_the_embedded_engine_takes_its_options() -> None:
    options = read_options(SERVICES["engine-cpu"]["command"][3:])
    assert (options.host, options.port, options.max_lora_rank) == ("0.0.0.0", 8000, 16)


def test_vllm_is_started_as_the_learner_and_the_hot_swap_need_it() -> None:
    command = SERVICES["engine-gpu"]["command"]
    options = options_of(command)
    assert "--enable-lora" in command
    assert options["--logprobs-mode"] == "processed_logprobs"
    assert options["--generation-config"] == "vllm"
    assert int(options["--max-cpu-loras"]) >= int(options["--max-loras"])
    assert SERVICES["engine-gpu"]["environment"]["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"


@pytest.mark.vllm
def test_vllm_takes_its_options() -> None:
    parse = (
        "import sys; from vllm.utils.argparse_utils import FlexibleArgumentParser as Parser;"
        "from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args as validate;"
        "validate(make_arg_parser(Parser()).parse_args(sys.argv[1:]))"
    )
    done = subprocess.run(
        [VLLM_PYTHON, "-c", parse, *SERVICES["engine-gpu"]["command"][3:]], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_both_engines_serve_the_largest_rank_that_a_learner_may_train() -> None:
    assert {options_of(SERVICES[engine]["command"])["--max-lora-rank"] for engine in ENGINES} == {"16"}


@pytest.mark.parametrize("room", ["", "5"])
def test_engines_hold_as_many_versions_as_the_gateway_counts_on(room: str) -> None:
    services = load_compose({**REQUIRED, "NOCK_ENGINE_ROOM": room})["services"]
    for engine in ENGINES:
        assert int(options_of(services[engine]["command"])["--max-cpu-loras"]) == int(room or ENGINE_ROOM)


def test_the_embedded_engine_of_a_laptop_has_that_room_too() -> None:
    assert read_options(["--model", "m"]).max_cpu_loras >= ENGINE_ROOM


@pytest.mark.parametrize("engine", ENGINES)
def test_gateway_workers_and_health_check_find_the_engine(engine: str) -> None:
    service = SERVICES[engine]
    alias = service["networks"]["engine"]["aliases"][0]
    port = options_of(service["command"])["--port"]
    for asker in ("gateway", "worker-cpu"):
        assert SERVICES[asker]["environment"]["NOCK_ENGINE_URLS"] == f"http://{alias}:{port}"
    assert f"http://127.0.0.1:{port}/health'" in service["healthcheck"]["test"][-1]
    assert "/health" in {route.path for route in engine_router.routes}  # type: ignore[attr-defined]


def test_port_and_health_check_of_the_gateway_exist() -> None:
    service = SERVICES["gateway"]
    port, path = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)'", service["healthcheck"]["test"][-1])[0]
    assert port == service["environment"]["NOCK_PORT"] == service["ports"][0].rsplit(":", 1)[-1]
    app = create_app(
        GatewaySettings(),
        DatabaseSettings(database_url="postgresql+psycopg://h/d"),
        EngineSettings(engine_urls=""),
        SecretSettings(secret=SecretStr("a" * 32)),
    )
    assert path in app.openapi()["paths"]


def test_adapters_lie_at_one_path_and_only_those_who_make_or_import_them_write_there() -> None:
    for service in (*ENGINES, "worker-cpu"):
        assert mounts(service)["adapters"] == (ADAPTERS, False), service
    for service in (*LEARNERS, "gateway"):
        assert mounts(service)["adapters"] == (ADAPTERS, True), service
        assert SERVICES[service]["environment"]["NOCK_ADAPTERS_DIR"] == ADAPTERS


def test_checkpoints_outlive_the_learner() -> None:
    for service in LEARNERS:
        path, writable = mounts(service)["checkpoints"]
        assert writable
        assert SERVICES[service]["environment"]["NOCK_CHECKPOINTS_DIR"] == path


def test_engine_and_learner_find_the_model_where_it_was_fetched_to() -> None:
    for profile, services in (("gpu", ("engine-gpu", "worker-gpu")), ("cpu", ("engine-cpu", "learner-cpu"))):
        fetcher = SERVICES[f"model-{profile}"]
        path, writable = mounts(f"model-{profile}")["models"]
        assert writable
        assert fetcher["environment"]["HF_HUB_CACHE"].startswith(f"{path}/")
        for service in services:
            assert mounts(service)["models"] == (path, False)
            assert f"model-{profile}" in SERVICES[service]["depends_on"]
            for name in ("HF_HUB_CACHE", "NOCK_MODEL"):
                assert SERVICES[service]["environment"][name] == fetcher["environment"][name]


@pytest.mark.parametrize("model", ["someone/some-model", "a-folder"])
def test_engines_serve_the_model_by_the_name_that_the_learner_expects(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a-folder").mkdir()
    monkeypatch.chdir(tmp_path)  # containers stand in the models volume
    services = load_compose({**REQUIRED, "NOCK_MODEL": model})["services"]
    for engine in ENGINES:
        assert options_of(services[engine]["command"])["--model"] == model
        assert (
            options_of(services[engine]["command"])["--served-model-name"] == LearnerSettings(model=model).served_name
        )
