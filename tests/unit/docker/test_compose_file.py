"""docker-compose.yml against the Compose specification, and against the rules that it claims to keep."""

import json
import re
from pathlib import Path
from typing import Any

import check_jsonschema
import jsonschema
import pytest
import yaml

from tests.fixtures.compose import FILE, REQUIRED, MissingVariable, load_compose, variables_of

SCHEMA = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
ONE_SHOT = {"migrate", "model-gpu", "model-cpu"}
SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|_KEY$")


@pytest.fixture
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = load_compose()["services"]
    return found


def networks_of(service: dict[str, Any]) -> set[str]:
    return set(service["networks"])


@pytest.mark.parametrize("as_written", [True, False])
def test_the_file_is_what_the_specification_allows(as_written: bool) -> None:
    schema = json.loads(SCHEMA.read_text())
    document = yaml.safe_load(FILE.read_text()) if as_written else load_compose()
    checker = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in checker.iter_errors(document)] == []


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_nothing_starts_before_a_secret_and_the_model_are_given(name: str) -> None:
    with pytest.raises(MissingVariable, match=name):
        load_compose({**REQUIRED, name: ""})


def test_no_secret_has_a_default_or_stands_in_the_file() -> None:
    for found in re.finditer(r"\$\{([A-Z_]+)(:?[-?][^}]*)?\}", FILE.read_text()):
        if SECRET.search(found[1]):
            assert found[2] is not None, found[0]
            assert found[2].startswith(":?"), found[0]
    for service in yaml.safe_load(FILE.read_text())["services"].values():
        for name, value in service.get("environment", {}).items():
            if SECRET.search(name) or name == "PGPASSWORD":
                assert value is None or variables_of(value), f"{name} is written down"


def test_only_gateway_and_workers_reach_the_engine(services: dict[str, dict[str, Any]]) -> None:
    on_network = {name for name, service in services.items() if "engine" in networks_of(service)}
    assert on_network == {"engine-gpu", "engine-cpu", "gateway", "worker-cpu"}
    for engine in ("engine-gpu", "engine-cpu"):
        assert networks_of(services[engine]) == {"engine"}


def test_only_gateway_and_dashboard_have_a_port_and_the_other_networks_lead_nowhere(
    services: dict[str, dict[str, Any]],
) -> None:
    assert {name for name, service in services.items() if "ports" in service} == {"gateway", "grafana"}
    networks = load_compose()["networks"]
    assert {name for name, network in networks.items() if network.get("internal")} == {"data", "engine", "watch"}
    on_the_edge = {name for name, service in services.items() if "edge" in networks_of(service)}
    assert on_the_edge == {"gateway", "grafana", "model-gpu", "model-cpu"}


def test_who_watches_reaches_neither_the_data_nor_the_engines(services: dict[str, dict[str, Any]]) -> None:
    assert networks_of(services["prometheus"]) == {"watch"}
    assert networks_of(services["grafana"]) == {"watch", "edge"}
    assert services["grafana"]["ports"] == ["127.0.0.1:3000:3000"]


def test_the_gateway_listens_to_the_machine_itself_unless_told_otherwise(services: dict[str, dict[str, Any]]) -> None:
    assert services["gateway"]["ports"] == ["127.0.0.1:8000:8000"]


def test_both_profiles_have_an_engine_by_one_name_and_a_learner(services: dict[str, dict[str, Any]]) -> None:
    for profile, engine, learner in (("gpu", "engine-gpu", "worker-gpu"), ("cpu", "engine-cpu", "learner-cpu")):
        assert services[engine]["profiles"] == services[learner]["profiles"] == [profile]
        assert services[engine]["networks"]["engine"]["aliases"] == ["engine"]
    assert services["worker-gpu"]["command"] == services["learner-cpu"]["command"]
    assert services["worker-gpu"]["environment"] == services["learner-cpu"]["environment"]


def test_what_is_always_there_waits_for_nothing_of_a_profile(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for needed in service.get("depends_on", {}):
            assert needed in services, f"{name} waits for {needed}"
            its_profiles = services[needed].get("profiles")
            assert its_profiles is None or its_profiles == service.get("profiles"), f"{name} waits for {needed}"


def test_what_is_waited_for_can_reach_the_awaited_state(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "test" in services[needed]["healthcheck"]
            else:
                assert needed in ONE_SHOT


def test_every_lasting_service_is_watched_restarted_and_bounded(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert int(service["logging"]["options"]["max-file"]) > 0, name
        if name in ONE_SHOT:
            assert service["restart"].startswith("on-failure:"), name
            continue
        assert service["restart"] == "unless-stopped", name
        assert service["stop_grace_period"], name
        assert "test" in service["healthcheck"] or service["healthcheck"] == {"disable": True}, name


def test_processes_of_ours_may_gain_no_privileges(services: dict[str, dict[str, Any]]) -> None:
    for name in set(services) - {"postgres", "redis"}:
        assert services[name]["cap_drop"] == ["ALL"], name
        assert services[name]["security_opt"] == ["no-new-privileges:true"], name


def test_images_of_others_are_pinned(services: dict[str, dict[str, Any]]) -> None:
    for name in ("postgres", "redis", "prometheus", "grafana"):
        assert re.fullmatch(r"[a-z/]+:v?\d+(\.\d+)*", services[name]["image"]), name


def test_every_named_volume_and_network_is_declared(services: dict[str, dict[str, Any]]) -> None:
    document = load_compose()
    mounted = {mount.split(":")[0] for each in services.values() for mount in each.get("volumes", [])}
    assert {name for name in mounted if not name.startswith(".")} == set(document["volumes"])
    assert set().union(*(networks_of(service) for service in services.values())) == set(document["networks"])
