"""The columns of each exported table.

What clients shaped themselves (messages, replies, tags, sampling) is JSON in a text: as nested columns every agent's
files would have another schema, and `load_dataset` could not read them together.
"""

import pyarrow as pa

VERSION = 1
"""Rises when a column changes its meaning or goes."""

TIME = pa.timestamp("us", tz="UTC")
JSON = pa.string()

EPISODE = pa.struct(
    [
        ("episode_id", pa.string()),
        ("adapter", pa.string()),
        ("arm", pa.string()),
        ("propensity", pa.float64()),
        ("started_at", TIME),
        ("ended_at", TIME),
        ("ended_by", pa.string()),
    ]
)

CONVERSATIONS = pa.schema(
    [
        ("conversation_id", pa.string()),
        ("external_id", pa.string()),
        ("agent", pa.string()),
        ("adapter", pa.string()),
        ("user", pa.string()),
        ("tags", JSON),
        ("state", pa.string()),
        ("return", pa.float64()),
        ("turns", pa.int32()),
        ("episodes", pa.list_(EPISODE)),
        ("parent", pa.string()),
        ("grouped", pa.string()),
        ("opened_at", TIME),
        ("closed_at", TIME),
    ]
)

TURNS = pa.schema(
    [
        ("turn_id", pa.string()),
        ("conversation_id", pa.string()),
        ("episode_id", pa.string()),
        ("index", pa.int32()),
        ("adapter", pa.string()),
        ("messages", JSON),
        ("reply", JSON),
        ("reply_text", pa.string()),
        ("finish_reason", pa.string()),
        ("reward", pa.float64()),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("sampling", JSON),
        ("learnable", pa.string()),
        ("learnable_reason", pa.string()),
        ("engine_seconds", pa.float64()),
        ("first_token_seconds", pa.float64()),
        ("created_at", TIME),
    ]
)

TURNS_WITH_TOKENS = pa.schema(
    [
        *TURNS,
        pa.field("prompt_token_ids", pa.list_(pa.int32())),
        pa.field("completion_token_ids", pa.list_(pa.int32())),
        pa.field("logprobs", pa.list_(pa.float32())),
    ]
)

REWARDS = pa.schema(
    [
        ("feedback_id", pa.string()),
        ("conversation_id", pa.string()),
        ("turn_id", pa.string()),
        ("metric", pa.string()),
        ("value", JSON),
        ("number", pa.float64()),
        ("source", pa.string()),
        ("stands", pa.bool_()),
        ("supersedes", pa.string()),
        ("retracts", pa.string()),
        ("comment", pa.string()),
        ("occurred_at", TIME),
        ("received_at", TIME),
    ]
)

VERSIONS = pa.schema(
    [
        ("adapter", pa.string()),
        ("agent", pa.string()),
        ("state", pa.string()),
        ("parent", pa.string()),
        ("run_id", pa.string()),
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("evidence", JSON),
        ("created_at", TIME),
    ]
)


def of_conversations(*, with_tokens: bool) -> dict[str, pa.Schema]:
    """The tables whose parts belong together, part by part."""
    turns = TURNS_WITH_TOKENS if with_tokens else TURNS
    return {"conversations": CONVERSATIONS, "turns": turns, "rewards": REWARDS}
