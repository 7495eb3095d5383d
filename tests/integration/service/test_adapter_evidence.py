"""What was found out about a version, as its page shows it."""

from uuid import uuid4

from core.domain.canaries import EvaluationKind, EvaluationState
from core.storage.database import Database
from core.storage.repositories import evaluations
from tests.fixtures.builders import create_adapter, create_agent
from tests.fixtures.gateway import RunningGateway


async def test_a_version_shows_the_newest_look_of_each_kind(database: Database, gateway: RunningGateway) -> None:
    version = await create_adapter(database, await create_agent(database, "demo"))
    shown = (await gateway.admin.get("/admin/adapters/demo@v1")).json()
    assert shown["evidence"] is None
    holder = uuid4()
    async with database.transaction() as session:
        for state in (EvaluationState.UNDECIDED, EvaluationState.PASSED):
            row = await evaluations.queue(session, version.agent_id, version.id, EvaluationKind.OFFLINE)
            assert row is not None
            await evaluations.claim(session, row.id, holder=holder, lease_seconds=60)
            figures = {"effective_sample_size": 60.0}
            await evaluations.end(session, row.id, holder=holder, state=state, figures=figures, reason="because")
        await evaluations.queue(session, version.agent_id, version.id, EvaluationKind.SUITE)
    shown = (await gateway.admin.get("/admin/adapters/demo@v1")).json()["evidence"]
    assert set(shown) == {"offline", "suite"}
    assert (shown["offline"]["state"], shown["offline"]["reason"]) == ("passed", "because")
    assert shown["offline"]["figures"] == {"effective_sample_size": 60.0}
    assert (shown["suite"]["state"], shown["suite"]["figures"], shown["suite"]["ended_at"]) == ("queued", None, None)
    listed = (await gateway.admin.get("/admin/agents/demo/adapters")).json()["data"]
    assert [each["evidence"] for each in listed] == [None, shown]
