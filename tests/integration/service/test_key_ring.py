"""Keys that were seen lately: how often Postgres is asked for one."""

import asyncio

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

from core.domain.errors import NotAuthenticatedError
from core.storage.database import Database
from core.storage.repositories import keys
from service.key_ring import KeyRing
from tests.fixtures.builders import create_key


async def test_requests_that_come_at_once_with_one_key_ask_postgres_once(database: Database) -> None:
    secret, row = await create_key(database)
    assert isinstance(database.bind, AsyncEngine)
    asked: list[str] = []
    event.listen(
        database.bind.sync_engine, "before_cursor_execute", lambda _connection, _cursor, said, *_: asked.append(said)
    )
    ring = KeyRing(database, cache_seconds=0)
    found = await asyncio.gather(*(ring.find(secret) for _ in range(20)))
    assert {key.id for key in found} == {row.id}
    assert len([said for said in asked if "api_keys" in said]) == 1


async def test_who_comes_after_a_revocation_is_not_answered_by_what_was_asked_before_it(database: Database) -> None:
    secret, row = await create_key(database)
    ring = KeyRing(database, cache_seconds=0)
    before = asyncio.create_task(ring.find(secret))
    await asyncio.sleep(0)
    async with database.transaction() as session:
        locked = await keys.lock_key(session, row.id)
        assert locked is not None
        await keys.revoke_key(session, locked, by="test")
    ring.forget()
    with pytest.raises(NotAuthenticatedError):
        await ring.find(secret)
    await asyncio.gather(before, return_exceptions=True)


async def test_what_was_read_before_a_revocation_and_told_after_it_is_not_kept(database: Database) -> None:
    secret, row = await create_key(database)
    ring = KeyRing(database, cache_seconds=600)
    was_read, may_be_told = asyncio.Event(), asyncio.Event()

    def hold_back(_connection: object, _cursor: object, said: str, *_: object) -> None:
        if "api_keys" in said and not was_read.is_set():
            was_read.set()
            await_only(may_be_told.wait())

    assert isinstance(database.bind, AsyncEngine)
    event.listen(database.bind.sync_engine, "after_cursor_execute", hold_back)
    before = asyncio.create_task(ring.find(secret))
    await was_read.wait()
    async with database.transaction() as session:
        locked = await keys.lock_key(session, row.id)
        assert locked is not None
        await keys.revoke_key(session, locked, by="test")
    ring.forget()
    may_be_told.set()
    await before
    with pytest.raises(NotAuthenticatedError):
        await ring.find(secret)


async def test_a_request_that_is_given_up_takes_the_key_from_no_other(database: Database) -> None:
    secret, row = await create_key(database)
    ring = KeyRing(database, cache_seconds=0)
    given_up, other = (asyncio.create_task(ring.find(secret)) for _ in range(2))
    await asyncio.sleep(0)
    given_up.cancel()
    assert (await other).id == row.id
