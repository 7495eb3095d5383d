"""What the gateway counts. Labels are agents and versions, never anything that a client chooses."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY = CollectorRegistry()

TURNS = Counter(
    "nock_turns_total", "Turns by how they ended.", ["agent", "adapter", "finish_reason"], registry=REGISTRY
)
FAILED_TURNS = Counter("nock_failed_turns_total", "Requests that got no reply.", ["agent", "code"], registry=REGISTRY)
TOKENS = Counter("nock_tokens_total", "Tokens by kind (prompt, completion).", ["agent", "kind"], registry=REGISTRY)
ENGINE_SECONDS = Histogram(
    "nock_engine_seconds", "From the request to the engine to its last token.", ["agent"], registry=REGISTRY
)
FIRST_TOKEN_SECONDS = Histogram(
    "nock_first_token_seconds", "From the request to the engine to its first token.", ["agent"], registry=REGISTRY
)
COMMIT_SECONDS = Histogram(
    "nock_turn_commit_seconds",
    "How long the commit of a turn held its last chunk back.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
    registry=REGISTRY,
)
FEEDBACK = Counter("nock_feedback_total", "Outcomes by answer.", ["status"], registry=REGISTRY)
LIMITED_REQUESTS = Counter(
    "nock_limited_requests_total",
    "Requests refused by a limit of their key or end user; outcomes have no agent here.",
    ["agent", "limit"],
    registry=REGISTRY,
)
LIMITS_UNAVAILABLE = Counter(
    "nock_limits_unavailable_total", "Times that limits could not be counted, for want of Redis.", registry=REGISTRY
)
HEALTHY_ENGINES = Gauge("nock_healthy_engines", "Engines that answer.", registry=REGISTRY)
ROLLOUT_GENERATION = Gauge(
    "nock_rollout_generation", "Generation of the rollout that is routed by.", ["agent"], registry=REGISTRY
)


def exposition() -> bytes:
    return generate_latest(REGISTRY)
