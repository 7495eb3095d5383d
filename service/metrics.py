"""What the gateway counts as it happens. Labels are agents, versions and parts of itself, never what a client chooses.

Several gateway processes share one address, and so one answer to Prometheus: `service/metric_files.py`.
"""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from service import metric_files
from service.shown_engines import SHOWN_ENGINES
from service.shown_versions import SHOWN

REGISTRY = CollectorRegistry()

disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series each, to say when the process began

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
OWN_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Buckets for what the gateway alone takes: mostly a few milliseconds, and an outage where it is a second."""
VERSION = ["agent", "adapter"]

TURNS = Counter("nock_turns_total", "Turns by how they ended.", [*VERSION, "finish_reason"], registry=REGISTRY)
FAILED_TURNS = Counter("nock_failed_turns_total", "Requests that got no reply.", ["agent", "code"], registry=REGISTRY)
TOKENS = Counter("nock_tokens_total", "Tokens by kind (prompt, completion).", [*VERSION, "kind"], registry=REGISTRY)
TURN_SECONDS = Histogram(
    "nock_turn_seconds",
    "From a request's arrival to the moment at which its finish may leave.",
    VERSION,
    buckets=SECONDS,
    registry=REGISTRY,
)
GATEWAY_SECONDS = Histogram(
    "nock_gateway_seconds",
    "What of that the engine did not take.",
    VERSION,
    buckets=OWN_SECONDS,
    registry=REGISTRY,
)
ENGINE_SECONDS = Histogram(
    "nock_engine_seconds",
    "From the request to the engine to its last token.",
    VERSION,
    buckets=SECONDS,
    registry=REGISTRY,
)
FIRST_TOKEN_SECONDS = Histogram(
    "nock_first_token_seconds",
    "From the request to the engine to its first token.",
    VERSION,
    buckets=SECONDS,
    registry=REGISTRY,
)
COMMIT_SECONDS = Histogram(
    "nock_turn_commit_seconds",
    "How long the commit of a turn held its last chunk back.",
    buckets=OWN_SECONDS,
    registry=REGISTRY,
)
CHAT_REQUESTS = Counter(
    "nock_chat_requests_total", "Answers to POST /v1/chat/completions by status.", ["status"], registry=REGISTRY
)
CHATS_IN_FLIGHT = Gauge(
    "nock_chats_in_flight", "Chat completions being answered.", multiprocess_mode="livesum", registry=REGISTRY
)
STREAMS_IN_FLIGHT = Gauge(
    "nock_streams_in_flight", "Those of them that stream.", multiprocess_mode="livesum", registry=REGISTRY
)
FEEDBACK = Counter("nock_feedback_total", "Outcomes by answer.", ["status"], registry=REGISTRY)
LIMITED_REQUESTS = Counter(
    "nock_limited_requests_total",
    "Requests refused by a limit of their key or end user; outcomes count under the agent other.",
    ["agent", "limit"],
    registry=REGISTRY,
)
LIMITS_UNAVAILABLE = Counter(
    "nock_limits_unavailable_total",
    "Requests that could not be counted for limits, for want of Redis.",
    registry=REGISTRY,
)
GATHERED = Histogram(
    "nock_gathered_requests",
    "Requests that shared one transaction.",
    ["gathering"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 100),
    registry=REGISTRY,
)
GATHERING_WAITING = Gauge(
    "nock_gathering_waiting",
    "Requests that wait for a transaction to share.",
    ["gathering"],
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
POOL_SIZE = Gauge(
    "nock_pool_connections", "Connections to Postgres.", ["pool"], multiprocess_mode="livesum", registry=REGISTRY
)
POOL_IN_USE = Gauge(
    "nock_pool_connections_in_use", "Those at work.", ["pool"], multiprocess_mode="livesum", registry=REGISTRY
)
HEALTHY_ENGINES = Gauge("nock_healthy_engines", "Engines that answer.", multiprocess_mode="livemin", registry=REGISTRY)
HEDGED_REQUESTS = Counter(
    "nock_hedged_requests_total",
    "Requests that a second engine was asked too, because the first said nothing.",
    registry=REGISTRY,
)
ENGINE_UP = Gauge(
    "nock_engine_up", "1 if that engine answers.", ["engine"], multiprocess_mode="livemin", registry=REGISTRY
)
ENGINE_IN_FLIGHT = Gauge(
    "nock_engine_in_flight",
    "Requests that the gateway has open at that engine.",
    ["engine"],
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
LOOP_LAG_SECONDS = Histogram(
    "nock_event_loop_lag_seconds",
    "How late the event loop wakes who slept: what every request waits that runs meanwhile.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0),
    registry=REGISTRY,
)
STARTED = Gauge(
    "nock_started_timestamp_seconds",
    "When the youngest gateway process began to serve.",
    multiprocess_mode="livemax",
    registry=REGISTRY,
)
ROLLOUT_GENERATION = Gauge(
    "nock_rollout_generation",
    "Generation of the rollout that is routed by.",
    ["agent"],
    multiprocess_mode="livemin",
    registry=REGISTRY,
)


class _Shown(Collector):
    """What was counted, without the series of versions that left the routing long ago, and of engines that are gone."""

    def collect(self) -> Iterator[Metric]:
        for metric in metric_files.collector_of(REGISTRY).collect():
            metric.samples = [one for one in metric.samples if _is_told(one.labels)]
            yield metric


def _is_told(labels: Mapping[str, str]) -> bool:
    return SHOWN.shows(labels) and SHOWN_ENGINES.shows(labels)


class _LookedUp(Collector):
    def __init__(self, found: Iterable[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        return self._found


def exposition(looked_up: Iterable[Metric] = ()) -> bytes:
    """Prometheus' text: what all processes of this gateway counted, and what was looked up for this answer."""
    told = CollectorRegistry()
    told.register(_Shown())
    told.register(_LookedUp(looked_up))
    return generate_latest(told)
