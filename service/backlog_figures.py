"""What waits and what hangs, as gauges: looked up in Postgres when Prometheus asks, so that none is stale for long."""

from collections.abc import Sequence

import structlog
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from sqlalchemy.exc import SQLAlchemyError

from core.storage.database import Database
from core.storage.repositories import backlog

log = structlog.get_logger()


def families() -> dict[str, GaugeMetricFamily]:
    """The gauges, empty."""
    described = (
        ("nock_database_up", "1 if Postgres answers.", ()),
        ("nock_waiting", f"What nobody has done yet, {backlog.MOST_COUNTED} of a kind at most.", ("kind",)),
        ("nock_waiting_seconds", "How long the first in line of that kind has waited.", ("kind",)),
        ("nock_learner_run_seconds", "How long a learner run has been at work.", ("agent",)),
        ("nock_learner_run_lapsed_seconds", "For how long its worker gave no sign of life.", ("agent",)),
        ("nock_trials", "Trials of versions by how they ended.", ("agent", "state")),
        ("nock_trial_ended_timestamp_seconds", "When the last trial ended so.", ("agent", "state")),
    )
    return {name: GaugeMetricFamily(name, meaning, labels=labels) for name, meaning, labels in described}


async def look_up(database: Database) -> Sequence[Metric]:
    found = families()
    up = found["nock_database_up"]
    try:
        async with database.transaction() as session:
            waiting = await backlog.list_waiting(session)
            running = await backlog.list_running(session)
            trials = await backlog.list_trials(session)
    except (SQLAlchemyError, OSError) as error:
        log.warning("metrics without what waits: Postgres is away", why=type(error).__name__)
        up.add_metric((), 0.0)
        return [up]
    up.add_metric((), 1.0)
    for one in waiting:
        found["nock_waiting"].add_metric([one.kind], one.count)
        found["nock_waiting_seconds"].add_metric([one.kind], one.seconds)
    for run in running:
        found["nock_learner_run_seconds"].add_metric([run.agent], run.seconds)
        found["nock_learner_run_lapsed_seconds"].add_metric([run.agent], run.lapsed_seconds)
    for trial in trials:
        found["nock_trials"].add_metric([trial.agent, trial.state], trial.count)
        if trial.last_ended is not None:
            found["nock_trial_ended_timestamp_seconds"].add_metric([trial.agent, trial.state], trial.last_ended)
    return list(found.values())
