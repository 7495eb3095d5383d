"""What the learner found, and what of that has changed since, as gauges: read from rows whenever Prometheus asks."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from prometheus_client import Gauge
from sqlalchemy.exc import SQLAlchemyError

from core.storage.database import Database
from core.storage.repositories import adapters, learner
from service.metrics import REGISTRY

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

GAUGES = {
    name: Gauge(f"nock_learner_{name}", meaning, ["agent"], registry=REGISTRY) for name, (_, meaning) in FIGURES.items()
}
ACTOR_SKIPPED = Gauge(
    "nock_learner_actor_skipped", "1 if only the critic learned in that run.", ["agent"], registry=REGISTRY
)
CHANGED_SHARE = Gauge(
    "nock_adapter_changed_share",
    "Of what taught a version in service or on trial, the share that has another reward by now, or none.",
    ["agent", "adapter"],
    registry=REGISTRY,
)


async def refresh(database: Database) -> None:
    """Set the gauges; a figure that a run does not have, or that Postgres cannot be asked for, is absent."""
    try:
        async with database.transaction() as session:
            rows = await learner.list_newest_figures(session)
            versions = await adapters.list_learned(session)
            names = await adapters.names_of(session, [version.id for version in versions])
    except (SQLAlchemyError, OSError) as error:
        log.warning("metrics without learner figures: Postgres is away", why=type(error).__name__)
        rows, versions, names = [], [], {}
    for gauge in (*GAUGES.values(), ACTOR_SKIPPED, CHANGED_SHARE):
        gauge.clear()
    for version in versions:
        if version.changed_share is not None:
            CHANGED_SHARE.labels(names[version.id].agent, str(names[version.id])).set(version.changed_share)
    for agent, figures in rows:
        for name, (path, _) in FIGURES.items():
            value = find_number(figures, path)
            if value is not None:
                GAUGES[name].labels(agent).set(value)
        ACTOR_SKIPPED.labels(agent).set(figures.get("actor_skipped") is not None)


def find_number(figures: Mapping[str, Any], path: Sequence[str]) -> float | None:
    """The number at the end of the path; None where a run, by its configuration or its age, does not have it."""
    found: Any = figures
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, int | float) else None
