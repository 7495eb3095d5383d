"""Which engine is known to hold which version, and which versions may not be unloaded."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from core.domain.adapters import AdapterName
from core.domain.episodes import EpisodeEnd
from core.storage import models
from core.storage.database import Database
from core.storage.repositories import clock, residency
from tests.fixtures.builders import create_adapter, create_agent, create_conversation, create_episode

HERE, THERE = "http://here", "http://there"


@pytest.fixture
async def agent(database: Database) -> models.Agent:
    return await create_agent(database, "demo")


@pytest.fixture
async def version(database: Database, agent: models.Agent) -> models.AdapterVersion:
    """`demo@v1`."""
    return await create_adapter(database, agent)


async def proved(database: Database) -> dict[str, frozenset[AdapterName]]:
    async with database.transaction() as session:
        return dict(await residency.list_proved(session))


async def needed(database: Database, *, drain_seconds: float) -> list[int]:
    async with database.transaction() as session:
        return [one.number for one in await residency.list_needed(session, drain_seconds=drain_seconds)]


async def test_what_somebody_proved_since_the_look_began_is_not_forgotten(
    database: Database, version: models.AdapterVersion
) -> None:
    async with database.transaction() as session:
        since = await clock.now(session)
    async with database.transaction() as session:
        await residency.note_proved(session, HERE, version.id)
    async with database.transaction() as session:
        await residency.record(session, HERE, [], since=since)
    assert await proved(database) == {HERE: {AdapterName("demo", 1)}}
    async with database.transaction() as session:
        await residency.record(session, HERE, [], since=await clock.instant(session))
    assert await proved(database) == {}


async def test_what_is_wanted_and_not_there_is_proved_no_more_but_still_wanted(
    database: Database, version: models.AdapterVersion
) -> None:
    async with database.transaction() as session:
        await residency.note_proved(session, HERE, version.id)
        await residency.note_proved(session, THERE, version.id)
        await residency.want(session, [HERE], version.id, seconds=60)
    async with database.transaction() as session:
        await residency.record(session, HERE, [], since=await clock.instant(session))
    assert await proved(database) == {THERE: {AdapterName("demo", 1)}}
    assert await needed(database, drain_seconds=0) == [1]


async def test_a_shorter_wish_shortens_no_longer_one_and_none_ends_both(
    database: Database, version: models.AdapterVersion
) -> None:
    async with database.transaction() as session:
        await residency.want(session, [HERE], version.id, seconds=600)
        await residency.want(session, [HERE], version.id, seconds=1)
        until = (await session.scalars(select(models.EngineResidency.wanted_until))).one()
        assert until is not None
        assert until - await clock.instant(session) > timedelta(seconds=500)
        await residency.want(session, [HERE], version.id, seconds=0)
    assert await needed(database, drain_seconds=0) == []


async def test_a_version_is_needed_while_an_episode_is_open_and_while_its_last_reply_may_run(
    database: Database, agent: models.Agent, version: models.AdapterVersion
) -> None:
    episode = await create_episode(database, await create_conversation(database, agent), adapter=version)
    assert await needed(database, drain_seconds=0) == [1]
    async with database.transaction() as session:
        row = await session.get_one(models.Episode, episode.id)
        row.ended_by, row.ended_at = EpisodeEnd.REJECTED, await clock.instant(session) - timedelta(seconds=30)
    assert await needed(database, drain_seconds=60) == [1]
    assert await needed(database, drain_seconds=20) == []
