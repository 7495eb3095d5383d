"""What the learner found, and what of that has changed since, as gauges: looked up in rows whenever Prometheus asks."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from sqlalchemy.exc import SQLAlchemyError

from core.storage.database import Database
from core.storage.repositories import adapters, learner

log = structlog.get_logger()

FIGURES: Mapping[str, tuple[Sequence[str], str]] = {
    "rank_correlation": (
        ("critic", "rank_correlation"),
        "Of the critic's values with what came, on conversations it never learned from where any are held out.",
    ),
    "held_out_explained_variance": (
        ("critic", "held_out_explained_variance"),
        "Share of those returns' variance that the critic explains.",
    ),
    "calibration_error": (
        ("critic", "calibration_error"),
        "How far its values lie from what came of them on average, in standard deviations of the returns.",
    ),
    "twin_gap": (("critic", "twin_gap"), "How far its members disagree, in standard deviations of the values."),
    "advantage_spread": (
        ("critic", "advantage_spread"),
        "How much sampled replies to one state differ in value, beside how much states do.",
    ),
    "positive_share": (("critic", "advantage_positive_share"), "Share of turns with a positive advantage."),
    "mean_trace_length": (("critic", "mean_trace_length"), "Later turns whose rewards reach a turn; 0 is one step."),
    "kl": (("actor", "kl_to_start"), "Nats a token that the adapter moved from where it started."),
    "effective_sample_size_share": (
        ("effective_sample_size_share",),
        "Of the turns that trained the actor; 1 if the policy still speaks as it did then.",
    ),
}
"""Where each figure stands in a run's figures, and what it is."""


def families() -> dict[str, GaugeMetricFamily]:
    """The gauges, empty."""
    found = {name: GaugeMetricFamily(f"nock_learner_{name}", FIGURES[name][1], labels=["agent"]) for name in FIGURES}
    found["actor_skipped"] = GaugeMetricFamily(
        "nock_learner_actor_skipped", "1 if only the critic learned in that run.", labels=["agent"]
    )
    found["changed_share"] = GaugeMetricFamily(
        "nock_adapter_changed_share",
        "Of what taught a version in service or on trial, the share that has another reward by now, or none.",
        labels=["agent", "adapter"],
    )
    return found


async def look_up(database: Database) -> Sequence[Metric]:
    """A figure that a run does not have, or that Postgres cannot be asked for, is absent."""
    found = families()
    try:
        async with database.transaction() as session:
            rows = await learner.list_newest_figures(session)
            versions = await adapters.list_learned(session)
            names = await adapters.names_of(session, [version.id for version in versions])
    except (SQLAlchemyError, OSError) as error:
        log.warning("metrics without learner figures: Postgres is away", why=type(error).__name__)
        return []
    for version in versions:
        if version.changed_share is not None:
            name = names[version.id]
            found["changed_share"].add_metric([name.agent, str(name)], version.changed_share)
    for agent, figures in rows:
        for figure, (path, _) in FIGURES.items():
            value = find_number(figures, path)
            if value is not None:
                found[figure].add_metric([agent], value)
        found["actor_skipped"].add_metric([agent], float(figures.get("actor_skipped") is not None))
    return list(found.values())


def find_number(figures: Mapping[str, Any], path: Sequence[str]) -> float | None:
    """The number at the end of the path; None where a run, by its configuration or its age, does not have it."""
    found: Any = figures
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, int | float) else None
