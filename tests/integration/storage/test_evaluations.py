"""Evaluations as rows: queued once, claimed by one, ended by whoever holds them."""

from uuid import UUID, uuid4

from core.domain.canaries import EvaluationKind, EvaluationState
from core.storage import models
from core.storage.database import Database
from core.storage.repositories import evaluations
from tests.fixtures.builders import create_adapter, create_agent

OFFLINE, SUITE = EvaluationKind.OFFLINE, EvaluationKind.SUITE


async def queue(
    database: Database, version: models.AdapterVersion, kind: EvaluationKind = OFFLINE
) -> models.Evaluation | None:
    async with database.transaction() as session:
        return await evaluations.queue(session, version.agent_id, version.id, kind)


async def claim(
    database: Database, evaluation_id: UUID, holder: UUID, seconds: float = 60.0
) -> models.Evaluation | None:
    async with database.transaction() as session:
        return await evaluations.claim(session, evaluation_id, holder=holder, lease_seconds=seconds)


async def end(database: Database, evaluation_id: UUID, holder: UUID) -> bool:
    async with database.transaction() as session:
        return await evaluations.end(
            session, evaluation_id, holder=holder, state=EvaluationState.PASSED, figures={"units": 3}, reason=None
        )


async def test_one_evaluation_of_a_kind_waits_for_a_version_at_a_time(database: Database) -> None:
    version = await create_adapter(database, await create_agent(database))
    first, again = await queue(database, version), await queue(database, version)
    assert first is not None
    assert again is None
    assert await queue(database, version, SUITE) is not None
    async with database.transaction() as session:
        assert await evaluations.list_unheld(session, OFFLINE) == [first.id]


async def test_one_worker_has_it_until_its_lease_has_passed(database: Database) -> None:
    queued = await queue(database, await create_adapter(database, await create_agent(database)))
    assert queued is not None
    first, second = uuid4(), uuid4()
    claimed = await claim(database, queued.id, first, seconds=-1.0)
    assert claimed is not None
    assert (claimed.state, claimed.attempts) == (EvaluationState.RUNNING, 1)
    again = await claim(database, queued.id, second)
    assert again is not None
    assert again.attempts == 2
    assert await claim(database, queued.id, first) is None
    assert not await end(database, queued.id, first)
    async with database.transaction() as session:
        assert not await evaluations.renew(session, queued.id, holder=first, lease_seconds=60.0)
        assert await evaluations.renew(session, queued.id, holder=second, lease_seconds=60.0)
        assert await evaluations.list_unheld(session, OFFLINE) == []
    assert await end(database, queued.id, second)


async def test_what_is_given_back_waits_again_and_an_interruption_counts_as_no_attempt(database: Database) -> None:
    queued = await queue(database, await create_adapter(database, await create_agent(database)))
    assert queued is not None
    holder = uuid4()
    for counts, attempts in ((False, 1), (True, 1), (True, 2)):
        claimed = await claim(database, queued.id, holder)
        assert claimed is not None
        assert claimed.attempts == attempts
        async with database.transaction() as session:
            assert await evaluations.give_back(session, queued.id, holder=holder, reason="why", counts=counts)


async def test_the_newest_of_each_kind_counts(database: Database) -> None:
    version = await create_adapter(database, await create_agent(database))
    other = await create_adapter(database, await create_agent(database, "other"))
    assert await queue(database, other) is not None
    holder = uuid4()
    for _ in range(2):
        offline = await queue(database, version)
        assert offline is not None
        await claim(database, offline.id, holder)
        await end(database, offline.id, holder)
    suite = await queue(database, version, SUITE)
    assert suite is not None
    async with database.transaction() as session:
        found = await evaluations.newest(session, version.id)
    assert {kind: row.id for kind, row in found.items()} == {OFFLINE: offline.id, SUITE: suite.id}
    assert found[OFFLINE].figures == {"units": 3}
    assert found[OFFLINE].ended_at is not None
