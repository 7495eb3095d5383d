"""`nock erase` against a gateway that listens."""

import asyncio
from collections.abc import Sequence

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from core.storage import models
from core.storage.database import Database
from tests.fixtures.builders import create_agent, create_conversation
from tests.fixtures.gateway import RunningGateway


@pytest.fixture
async def agent(database: Database) -> models.Agent:
    return await create_agent(database, "demo")


async def nock(gateway: RunningGateway, arguments: Sequence[str]) -> Result:
    options = ["--url", gateway.url, "--key", gateway.keys.admin]
    return await asyncio.to_thread(CliRunner().invoke, app, ["erase", *arguments, *options])


async def test_a_conversation_and_a_user_are_erased_by_names_of_any_letters(
    gateway: RunningGateway, database: Database, agent: models.Agent
) -> None:
    await create_conversation(database, agent, external_id="order/47 ü?")
    await create_conversation(database, agent, end_user="ann/b@example.org")
    for subject, name in (("conversation", "order/47 ü?"), ("user", "ann/b@example.org")):
        first, again = await nock(gateway, [subject, name]), await nock(gateway, [subject, name])
        assert first.exit_code == 0, first.output
        assert ": erased 1 conversations\nBeyond reach:\n- Backups" in first.output
        assert again.output == first.output


async def test_what_never_was_ends_with_one_line_and_status_1(gateway: RunningGateway, agent: models.Agent) -> None:
    refused = await nock(gateway, ["user", "never", "--agent", "demo"])
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
    assert "user_not_found" in refused.output
