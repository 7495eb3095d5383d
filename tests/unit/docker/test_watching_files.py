"""Dashboard, alerts and their page name what the gateway exposes, and nothing else; spans stand in the page too."""

import ast
import json
import re
from typing import Any

import pytest
import yaml

from service import backlog_figures, learner_figures, metrics
from tests.fixtures.compose import ROOT, load_compose

DOCKER = ROOT / "docker"
BOARD = json.loads((DOCKER / "grafana/dashboards/nock.json").read_text())
GROUPS = yaml.safe_load((DOCKER / "prometheus/alerts.yml").read_text())["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
PAGE = (ROOT / "docs/observability.md").read_text()
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
NAME = re.compile(r"\bnock_[a-z_]+")
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def described() -> dict[str, tuple[str, str, tuple[str, ...]]]:
    """Every metric with its kind, its meaning and its labels."""
    found = {}
    for one in metrics.REGISTRY._collector_to_names:
        (family,) = one.describe()  # type: ignore[attr-defined]
        name = family.name + "_total" * (family.type == "counter")
        found[name] = (family.type, family.documentation, one._labelnames)  # type: ignore[attr-defined]
    for family in (*backlog_figures.families().values(), *learner_figures.families().values()):
        found[family.name] = (family.type, family.documentation, family._labelnames)
    return found


METRICS = described()
SERIES = {
    (name if kind == "counter" else name + suffix): set(labels) | ({"le"} if suffix == "_bucket" else set())
    for name, (kind, _, labels) in METRICS.items()
    for suffix in SUFFIXES[kind]
}


EXPRESSIONS = [
    pytest.param(target["expr"], id=f"{panel['title']}, {target['refId']}")
    for panel in PANELS
    for target in panel["targets"]
] + [pytest.param(rule["expr"], id=rule["alert"]) for rule in RULES]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_is_asked_for_is_exposed_with_those_labels(expression: str) -> None:
    asked = set(NAME.findall(expression))
    assert asked <= set(SERIES)
    assert asked or "up{" in expression
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")
    known = set().union({"instance", "job"}, *(SERIES[name] for name in asked))
    labels = {label for inside in re.findall(r"{([^}]*)}", expression) for label in re.findall(r"(\w+)\s*[=!]", inside)}
    grouped = {label.strip() for inside in re.findall(r"\bby \(([^)]*)\)", expression) for label in inside.split(",")}
    assert labels | grouped <= known


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_counter_is_asked_for_its_rate_and_a_quantile_keeps_its_buckets(expression: str) -> None:
    for name in NAME.findall(expression):
        if name.endswith(("_total", "_bucket", "_sum", "_count")):
            assert re.search(rf"rate\({name}[^)]*\[", expression), name
    if "histogram_quantile" in expression:
        assert re.search(r"by \(le\b", expression)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_share_of_what_was_never_counted_is_not_silent(rule: dict[str, Any]) -> None:
    compared = rule["expr"].split(">")
    counted, against = ({*re.findall(r"nock_\w+_total", side)} for side in (compared[0], compared[-1]))
    if counted and against - counted and "by (" in rule["expr"]:
        assert f" or 0 * {compared[0].strip()}" in compared[-1], "without a series on the right there is no alert"


def test_panels_do_not_overlap_and_have_ids_and_units_of_their_own() -> None:
    taken = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS)


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {name for panel in PANELS for target in panel["targets"] for name in NAME.findall(target["expr"])}
    for name, (kind, _, _) in METRICS.items():
        alarmed = {named for rule in RULES for named in NAME.findall(rule["expr"])}
        assert {name if kind == "counter" else name + suffix for suffix in SUFFIXES[kind]} & (shown | alarmed), name


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_what_is_wrong(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"]["summary"].endswith((".", "?"))
    assert rule["alert"] in PAGE


def test_prometheus_asks_the_gateway_where_it_listens_and_grafana_asks_prometheus() -> None:
    services = load_compose()["services"]
    asked = yaml.safe_load((DOCKER / "prometheus/prometheus.yml").read_text())
    (job,) = asked["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"gateway:{services['gateway']['environment']['NOCK_PORT']}"]}]
    assert [(DOCKER / "prometheus" / name).is_file() for name in asked["rule_files"]] == [True]
    (source,) = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert {panel["datasource"]["uid"] for panel in PANELS} == {source["uid"]}
    (provider,) = yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/nock.yml").read_text())["providers"]
    assert f"./docker/grafana/dashboards:{provider['options']['path']}:ro" in services["grafana"]["volumes"]


def test_the_page_has_every_metric_with_its_labels_and_no_other() -> None:
    rows = re.findall(r"(?m)^\| `(nock_\w+)` \| (\w+) \| ([^|]*)\|", PAGE)
    told = {name: (kind, labels) for name, kind, labels in rows}
    assert set(told) == set(METRICS)
    for name, (kind, _, labels) in METRICS.items():
        assert told[name][0] == kind, name
        assert re.findall(r"`(\w+)`", told[name][1]) == list(labels), name


def span_names() -> set[str]:
    """The names of spans as the code gives them; what is filled in is `…`."""
    found = set()
    for room in ("core", "service", "worker"):
        for file in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    found |= {_written(name) for name in _named(node)}
    return found


def _named(call: ast.Call) -> list[ast.expr]:
    assert isinstance(call.func, ast.Attribute)
    match call.func.attr:
        case "span" | "span_apart" | "span_for_all" | "update_name":
            return [] if isinstance(call.args[0], ast.Attribute) else call.args[:1]
        case "span_from":
            return call.args[1:2]
    return []


def _written(name: ast.expr) -> str:
    if isinstance(name, ast.Constant):
        return str(name.value)
    assert isinstance(name, ast.JoinedStr)
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in name.values)


def test_the_page_has_every_span_and_no_other() -> None:
    told = set(re.findall(r"(?m)^\| `([^`]+)` \| (?:server|internal|client|consumer) \|", PAGE))
    by_gathering = {"finding", "opening", "writing", "outcomes"}
    assert told - {"POST /feedback"} == span_names() | by_gathering
