"""`nock keys` and `nock audit`, over HTTP and against the database."""

import asyncio
import json
from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.keys import LIMITS
from cli.main import app
from core.domain.keys import hash_secret
from core.domain.limits import Limits
from core.storage.database import Database
from core.storage.repositories import audit, keys
from tests.fixtures.gateway import RunningGateway, client

LIMIT = ("--limit", "requests_per_minute=60", "--limit", "tokens_per_day=1000")


async def nock(gateway: RunningGateway, *arguments: str) -> Result:
    options = ["--url", gateway.url, "--key", gateway.keys.admin]
    return await asyncio.to_thread(CliRunner().invoke, app, [*arguments, *options])


def test_the_command_knows_every_limit() -> None:
    assert set(LIMITS) == {field.name for field in fields(Limits)}


async def test_a_key_is_made_with_limits_listed_and_rotated(gateway: RunningGateway) -> None:
    made = await nock(gateway, "keys", "create", "--scope", "chat", "--name", "shop", *LIMIT)
    assert made.exit_code == 0, made.output
    listed = json.loads((await nock(gateway, "keys", "list", "--json")).output)
    shop = next(key for key in listed if key["name"] == "shop")
    assert shop["limits"] == {"requests_per_minute": 60, "tokens_per_day": 1000}
    rotated = await nock(gateway, "keys", "rotate", shop["key_id"], "--grace-seconds", "0")
    for told, status in ((made, 401), (rotated, 200)):
        async with client(gateway.url, told.stdout.strip()) as holder:
            assert (await holder.get("/v1/models")).status_code == status
    shown = json.loads((await nock(gateway, "audit", "--json", "--limit", "2")).output)
    assert [act["action"] for act in shown] == ["key.rotate", "key.create"]
    assert shop["key_id"] in (await nock(gateway, "audit", "--action", "key.rotate")).output


@pytest.mark.parametrize(
    "limit", ["requests_per_hour=5", "requests_per_minute", "tokens_per_day=0", "tokens_per_day=x"]
)
async def test_a_limit_that_is_none_is_refused_with_those_there_are(gateway: RunningGateway, limit: str) -> None:
    refused = await nock(gateway, "keys", "create", "--scope", "chat", "--limit", limit)
    assert refused.exit_code == 2
    assert "concurrent_requests" in refused.output


async def test_a_key_made_straight_in_the_database_has_its_limits_and_is_noted(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOCK_DATABASE_URL", database_url)
    monkeypatch.setenv("NOCK_HOME", str(tmp_path))
    monkeypatch.delenv("NOCK_API_KEY", raising=False)
    arguments = ["keys", "create", "--scope", "admin", *LIMIT]
    made = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert made.exit_code == 0, made.output
    async with database.transaction() as session:
        key = await keys.find_key(session, hash_secret(made.stdout.strip()))
        (act,) = await audit.list_entries(session, seen=None, agent=None, action=None, after=None, limit=5)
    assert key is not None
    assert key.limits == Limits(requests_per_minute=60, tokens_per_day=1000)
    assert (act.by, act.action, act.subject) == ("nock keys", "key.create", key.public_id)
