"""Start a learner step, and look at what steps there were."""

from nock_client.call import Call, get, part
from nock_client.shapes import Page, Run, RunQueued


def learn(agent: str) -> Call[RunQueued]:
    """Start a learner step now; ConflictError while one is queued or runs. `wait_for_run` waits for its end."""
    return Call("POST", f"/admin/agents/{part(agent)}/learn")


def runs(agent: str, *, after: str | None = None, limit: int | None = None) -> Call[Page[Run]]:
    """The agent's learner runs, newest first."""
    return get(f"/admin/agents/{part(agent)}/runs", after=after, limit=limit)


def run(run_id: str) -> Call[Run]:
    """One run: state, progress, figures, the adapter that came out."""
    return get(f"/admin/runs/{part(run_id)}")
