"""A year of versions is not a year of series, and nothing that was counted is lost by that."""

from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service import metrics
from service.shown_versions import KEPT_SECONDS, MOST_AGENTS, MOST_VERSIONS, OTHER, SHOWN, ShownVersions
from service.turn_figures import figures_of, follow


@pytest.fixture(autouse=True)
def nothing_shown() -> Iterator[None]:
    yield
    SHOWN.__init__()  # type: ignore[misc]
    follow([])


def turns(agent: str) -> dict[str, float]:
    """The agent's turns by adapter, as Prometheus reads them."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            if sample.name == "nock_turns_total" and sample.labels["agent"] == agent:
                found[sample.labels["adapter"]] = found.get(sample.labels["adapter"], 0) + sample.value
    return found


def test_a_thousand_versions_one_after_the_other_leave_the_series_of_the_last_hour() -> None:
    for number in range(1000):
        version = ("one by one", f"one by one@v{number}")
        SHOWN.follow([version], now=number * 60.0)
        figures_of(*version).turns("stop").inc()
    shown = turns("one by one")
    assert len(shown) == KEPT_SECONDS / 60 + 1
    assert list(shown)[-1] == "one by one@v999"


def test_of_a_thousand_versions_at_once_the_rest_share_one_series() -> None:
    versions = [("at once", f"at once@v{number}") for number in range(1000)]
    SHOWN.follow(versions)
    for version in versions:
        figures_of(*version).turns("stop").inc()
    shown = turns("at once")
    assert len(shown) == MOST_VERSIONS + 1
    assert shown[OTHER] == 1000 - MOST_VERSIONS


def test_pinned_versions_that_no_route_names_share_one_series_too() -> None:
    SHOWN.follow([("pinned", "pinned@v1")])
    for number in range(1000):
        figures_of("pinned", f"pinned@v{number}").turns("stop").inc()
    assert turns("pinned") == {"pinned@v1": 1.0, OTHER: 999.0}


def test_finish_reasons_that_an_engine_makes_up_share_one_series() -> None:
    SHOWN.follow([("made up", "made up@v1")])
    for number in range(1000):
        figures_of("made up", "made up@v1").turns(f"reason {number}").inc()
    told = metrics.exposition().decode()
    assert 'nock_turns_total{adapter="made up@v1",agent="made up",finish_reason="other"} 1000.0' in told
    assert "reason 7" not in told


def test_what_is_routed_to_comes_before_what_was() -> None:
    shown = ShownVersions()
    shown.follow([("demo", f"demo@v{number}") for number in range(MOST_VERSIONS)], now=0.0)
    shown.follow([("demo", "demo@v1000")], now=1.0)
    assert shown.version("demo", "demo@v1000") == ("demo", "demo@v1000")
    assert shown.version("demo", f"demo@v{MOST_VERSIONS - 1}") == ("demo", OTHER)


def test_agents_are_bounded_too() -> None:
    shown = ShownVersions()
    shown.follow([(f"agent{number}", f"agent{number}@base") for number in range(1000)])
    labels = {shown.version(f"agent{number}", f"agent{number}@base") for number in range(1000)}
    assert len(labels) == MOST_AGENTS + 1
    assert (OTHER, OTHER) in labels
