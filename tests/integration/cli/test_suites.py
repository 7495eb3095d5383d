"""`nock suite` against a gateway that listens, with a worker's step in between."""

import asyncio
import json

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from core.settings import EngineSettings
from core.storage import models
from core.storage.database import Database
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.scripted_engine import ScriptedEngine
from worker import suites

SUITE = [
    {"name": "right", "prompt": "Hello", "checks": {"contains": "heard"}},
    {"name": "wrong [bold]", "prompt": "Hello", "checks": {"contains": "[red]never[/red]"}},
]


@pytest.fixture
async def agent(database: Database) -> models.Agent:
    return await create_agent(database, "demo", suite=SUITE)


async def nock(gateway: RunningGateway, *arguments: str) -> Result:
    options = ["--url", gateway.url, "--key", gateway.keys.admin]
    return await asyncio.to_thread(CliRunner().invoke, app, ["suite", *arguments, *options])


async def test_what_failed_is_shown_and_ends_with_status_1(
    gateway: RunningGateway, database: Database, agent: models.Agent, scripted_engine: ScriptedEngine
) -> None:
    assert (await nock(gateway, "show", "demo@base")).output == "demo@base was never asked a suite.\n"
    waiting = asyncio.create_task(nock(gateway, "run", "demo@base", "--wait"))
    settings = EngineSettings(engine_urls=scripted_engine.url)
    while not waiting.done():
        await suites.step(database, settings=settings)
        await asyncio.sleep(0.05)
    told = waiting.result()
    assert told.exit_code == 1
    assert "It does not contain '[red]never[/red]'." in told.output
    assert "wrong [bold]" in told.output
    assert told.output.endswith("demo@base failed: 1 of 2 prompts failed: wrong [bold].\n")
    shown = await nock(gateway, "show", "demo@base", "--json")
    assert json.loads(shown.output)["figures"]["passed"] == 1


async def test_without_waiting_the_id_is_told_and_a_second_run_is_refused(
    gateway: RunningGateway, agent: models.Agent
) -> None:
    first, second = await nock(gateway, "run", "demo@base"), await nock(gateway, "run", "demo@base")
    assert first.output.startswith("eval_")
    assert (second.exit_code, second.output.count("\n")) == (1, 1)
    assert "suite_running" in second.output
