"""Adapter versions and what they learned from."""

from typing import Any, Literal, TypedDict

from nock_client.shapes.erasures import Policy
from nock_client.shapes.page import Page


class Adapter(TypedDict):
    """A version such as `support@v12`; immutable but for its state and what is known of it."""

    adapter: str
    agent: str
    state: Literal["candidate", "canary", "stable", "retired", "rejected"]
    parent: str | None
    run_id: str | None
    path: str | None
    sha256: str | None
    evidence: dict[str, Any] | None
    changed_share: float | None
    taught_by_erased: Policy | None
    created_at: str


class EvaluationQueued(TypedDict):
    """Found again under the version's `evidence`."""

    evaluation_id: str


class Taught(TypedDict):
    """A turn that a version learned from, with its reward then and now."""

    turn_id: str
    conversation_id: str
    trained_actor: bool
    reward_then: float | None
    reward_now: float | None
    changed: bool
    feedback_ids: list[str]


class Lineage(Page[Taught]):
    """The counts are of all turns, `data` is a page of them."""

    adapter: str
    parent: str | None
    run_id: str | None
    turns: int
    erased_turns: int
    changed: int
    changed_share: float | None
