"""The figures of learner runs at /metrics, from rows of a real Postgres."""

from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.storage import models
from core.storage.database import Database, connect
from core.storage.models import RunState
from service import kept_answer, learner_figures, metrics
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.runs import queue_run

CRITIC = {
    "rank_correlation": 0.5,
    "held_out_explained_variance": -0.25,
    "calibration_error": 0.125,
    "twin_gap": 0.75,
    "advantage_spread": 0.0,
    "advantage_positive_share": 0.375,
    "mean_trace_length": 1.5,
}
ACTOR = {"kl_to_start": 0.0625}
LEARNED = {"critic": CRITIC, "actor": ACTOR, "effective_sample_size_share": 0.875, "actor_skipped": None}
WARMING_UP = {
    "critic": CRITIC | {"rank_correlation": None, "advantage_spread": None},
    "actor": None,
    "effective_sample_size_share": None,
    "actor_skipped": "the critic warms up: update 1 of 2",
}
ALL = {
    "rank_correlation": 0.5,
    "held_out_explained_variance": -0.25,
    "calibration_error": 0.125,
    "twin_gap": 0.75,
    "advantage_spread": 0.0,
    "positive_share": 0.375,
    "mean_trace_length": 1.5,
    "kl": 0.0625,
    "effective_sample_size_share": 0.875,
    "actor_skipped": 0.0,
}


async def end_run(database: Database, agent: models.Agent, state: RunState, **values: Any) -> None:
    run_id = await queue_run(database, agent)
    async with database.transaction() as session:
        run = await session.get_one(models.LearnerRun, run_id)
        for name, value in {"state": state, "ended_at": datetime.now(UTC), **values}.items():
            setattr(run, name, value)


async def scrape(gateway: RunningGateway) -> str:
    answer = await gateway.nobody.get("/metrics")
    assert answer.status_code == 200, answer.text
    return answer.text


def read(exposed: str, agent: str) -> dict[str, float]:
    """An agent's learner figures, as Prometheus reads them."""
    return {
        sample.name.removeprefix("nock_learner_"): sample.value
        for family in text_string_to_metric_families(exposed)
        for sample in family.samples
        if sample.name.startswith("nock_learner_") and sample.labels["agent"] == agent
    }


async def test_each_agent_shows_the_figures_of_its_newest_run_that_learned(
    gateway: RunningGateway, database: Database
) -> None:
    shop, support = await create_agent(database, "shop"), await create_agent(database, "support")
    await create_agent(database, "silent")
    older = {"critic": CRITIC | {"rank_correlation": -1.0}, "actor": ACTOR, "actor_skipped": None}
    await end_run(database, shop, RunState.SUCCEEDED, figures=older)
    await end_run(database, shop, RunState.SUCCEEDED, figures=LEARNED)
    await end_run(database, support, RunState.SKIPPED, figures=WARMING_UP, watermark=datetime.now(UTC))
    exposed = await scrape(gateway)
    assert read(exposed, "shop") == ALL
    unknown = {"rank_correlation", "advantage_spread", "kl", "effective_sample_size_share"}
    assert read(exposed, "support") == {name: ALL[name] for name in ALL if name not in unknown} | {"actor_skipped": 1.0}
    assert read(exposed, "silent") == {}


async def test_a_run_that_learned_nothing_hides_no_figure_of_the_one_before(
    gateway: RunningGateway, database: Database
) -> None:
    agent = await create_agent(database, "shop")
    await end_run(database, agent, RunState.SUCCEEDED, figures=LEARNED)
    await end_run(database, agent, RunState.SKIPPED, reason="3 matured conversations, 4 are needed: 1 more.")
    await end_run(database, agent, RunState.FAILED, reason="no memory")
    await queue_run(database, agent)
    assert read(await scrape(gateway), "shop") == ALL


async def test_a_figure_that_the_newest_run_lacks_is_not_left_from_the_one_before(
    gateway: RunningGateway, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_answer, "KEPT_SECONDS", 0.0)
    agent = await create_agent(database, "shop")
    await end_run(database, agent, RunState.SUCCEEDED, figures=LEARNED)
    assert read(await scrape(gateway), "shop")["kl"] == 0.0625
    of_an_earlier_release = {"critic": {"explained_variance": 0.5}, "actor_skipped": None}
    await end_run(database, agent, RunState.SUCCEEDED, figures=of_an_earlier_release)
    assert read(await scrape(gateway), "shop") == {"actor_skipped": 0.0}


async def test_without_postgres_the_other_metrics_are_exposed_all_the_same(
    gateway: RunningGateway, database: Database
) -> None:
    agent = await create_agent(database, "shop")
    await end_run(database, agent, RunState.SUCCEEDED, figures=LEARNED)
    await scrape(gateway)
    nowhere = connect("postgresql+psycopg://nobody@127.0.0.1:9/nowhere")
    exposed = metrics.exposition(await learner_figures.look_up(Database(nowhere))).decode()
    assert read(exposed, "shop") == {}
    assert "nock_healthy_engines 1.0" in exposed


@pytest.mark.parametrize(
    ("figures", "found"), [({}, None), ({"a": 2}, None), ({"a": {"b": None}}, None), ({"a": {"b": 0}}, 0)]
)
def test_only_a_number_at_the_end_of_the_path_is_a_figure(figures: dict[str, Any], found: float | None) -> None:
    assert learner_figures.find_number(figures, ("a", "b")) == found
