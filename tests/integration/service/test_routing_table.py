"""The routing table follows Postgres: by notification, by polling when one is lost, and after Postgres was away."""

import asyncio
import time

from alembic import command
from sqlalchemy import text
from sqlalchemy.engine import make_url

from core.storage import migrations
from core.storage.database import Database, connect
from service.app import libpq_address
from service.routing_table import RoutingTable, follow
from tests.fixtures.builders import create_agent


async def knows(table: RoutingTable, agent: str, *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while agent not in [route.agent.name for route in table.all()]:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


async def test_a_poll_finds_what_no_notification_told(database: Database, database_url: str) -> None:
    table = RoutingTable()
    following = asyncio.create_task(
        follow(table, database, libpq_address(database_url), 0.1, lambda: None, lambda _: None)
    )
    await create_agent(database, "quiet")  # a builder announces nothing
    assert await knows(table, "quiet", seconds=10)
    following.cancel()


async def test_the_last_table_stays_in_service_while_postgres_is_away_and_is_renewed_when_it_is_back(
    database: Database, database_url: str
) -> None:
    table = RoutingTable()
    following = asyncio.create_task(
        follow(table, database, libpq_address(database_url), 0.1, lambda: None, lambda _: None)
    )
    await create_agent(database, "before")
    assert await knows(table, "before", seconds=10)
    name = make_url(database_url).database
    admin = connect(make_url(database_url).set(database="postgres").render_as_string(hide_password=False))
    async with admin.connect() as connection:
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
        await connection.execute(text(cut), {"name": name})
    await admin.dispose()
    assert table.get("before").agent.name == "before"
    await create_agent(database, "after")
    assert await knows(table, "after", seconds=10)
    following.cancel()


async def test_a_table_from_before_the_first_migration_follows_once_it_has_run(empty_database_url: str) -> None:
    table = RoutingTable()
    engine = connect(empty_database_url, pool_size=2)
    database = Database(engine)
    following = asyncio.create_task(
        follow(table, database, libpq_address(empty_database_url), 0.1, lambda: None, lambda _: None)
    )
    await asyncio.sleep(0.5)
    await asyncio.to_thread(command.upgrade, migrations.configuration(empty_database_url), "head")
    await create_agent(database, "first")
    assert await knows(table, "first", seconds=10)
    following.cancel()
    await engine.dispose()


def test_an_address_reaches_libpq_whatever_its_characters() -> None:
    assert (
        libpq_address("postgresql+psycopg://postgres@/nock?host=/tmp/a%20b")
        == "dbname=nock user=postgres host='/tmp/a b'"
    )
    assert "password=p@ss" in libpq_address("postgresql+psycopg://u:p%40ss@db:5433/nock?sslmode=require")
