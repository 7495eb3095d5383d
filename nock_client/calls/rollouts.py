"""What is in service and on trial, how it came to that, and the way back."""

from nock_client.call import Call, get, given, part
from nock_client.shapes import Canary, Page, Rollout, RolloutEvent


def rollout(agent: str) -> Call[Rollout]:
    """Stable version, canary and its weight, since when, who and why."""
    return get(f"/admin/agents/{part(agent)}/rollout")


def rollout_events(agent: str) -> Call[Page[RolloutEvent]]:
    """Every move of the agent's rollout, oldest first."""
    return get(f"/admin/agents/{part(agent)}/rollout/events")


def canaries(agent: str, *, limit: int | None = None) -> Call[Page[Canary]]:
    """The trials of an agent's versions, newest first, each with what its last look saw."""
    return get(f"/admin/agents/{part(agent)}/canaries", limit=limit)


def rollback(agent: str, *, reason: str | None = None) -> Call[Rollout]:
    """Back to the version before, at once. Twice goes back twice."""
    return Call("POST", f"/admin/agents/{part(agent)}/rollback", body=given({"reason": reason}))
