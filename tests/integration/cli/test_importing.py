"""`nock import-adapter`, with a gateway and an engine that really loads what came and answers under it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from core.storage import models
from core.storage.database import Database
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway, StartGateway


@pytest.fixture
async def agent(database: Database, agent_name: str) -> models.Agent:
    return await create_agent(database, agent_name)


@pytest.fixture
async def real_gateway(
    start_gateway: StartGateway, embedded_engine_url: str, agent: models.Agent
) -> AsyncIterator[RunningGateway]:
    """A gateway that knows the agent from its start."""
    async with start_gateway(embedded_engine_url) as gateway:
        yield gateway


async def nock(gateway: RunningGateway, *arguments: str) -> Result:
    options = ["--url", gateway.url, "--key", gateway.keys.admin]
    return await asyncio.to_thread(CliRunner().invoke, app, [*arguments, *options])


async def say(gateway: RunningGateway, agent: models.Agent) -> tuple[str, str]:
    body = {"model": agent.name, "messages": [{"role": "user", "content": "hello"}], "temperature": 0, "max_tokens": 12}
    answer = await gateway.chat.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Adapter"], answer.json()["choices"][0]["message"]["content"]


async def test_an_imported_lora_is_promoted_and_the_engine_answers_under_it(
    real_gateway: RunningGateway, agent: models.Agent, adapter_folders: list[Path]
) -> None:
    before = await say(real_gateway, agent)
    name = f"{agent.name}@v1"
    done = await nock(real_gateway, "import-adapter", str(adapter_folders[0]), "--agent", agent.name, "--name", "ours")
    assert (done.exit_code, done.output) == (0, f"{name} is a candidate\n")
    promoted = await nock(real_gateway, "promote", name, "--reason", "it is good", "--force")
    assert promoted.exit_code == 0, promoted.output
    adapter, reply = await say(real_gateway, agent)
    assert adapter == name
    assert reply != before[1]
    again = await nock(real_gateway, "import-adapter", str(adapter_folders[0]), "--agent", agent.name)
    assert again.output == f"{name} was made of the same files before; it is stable\n"


async def test_a_refusal_and_a_folder_without_the_files_end_with_one_line_and_status_1(
    real_gateway: RunningGateway, agent: models.Agent, adapter_folders: list[Path], tmp_path: Path
) -> None:
    unknown = await nock(real_gateway, "import-adapter", str(adapter_folders[0]), "--agent", "nobody")
    assert (unknown.exit_code, unknown.output.count("\n")) == (1, 1)
    assert "agent_not_found" in unknown.output
    empty = await nock(real_gateway, "import-adapter", str(tmp_path), "--agent", agent.name)
    assert empty.exit_code == 1
    assert "There is no adapter_config.json and no adapter_model.safetensors in" in empty.output
