"""Simulated users against a real gateway: what they earn is on its turn, late where it is late, and cut where it is."""

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cli.main import app
from core.domain.keys import Scope
from core.storage.database import Database
from sim.catalogue import find_task
from tests.fixtures.builders import create_key
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.scripted_engine import ScriptedEngine

DOG = 1  # the seed whose hidden word it is


@dataclass(frozen=True)
class Simulation:
    """The command against a gateway, with a key for chat and feedback."""

    gateway: RunningGateway
    key: str
    file: Path

    async def run(self, task: str, *arguments: str, key: str | None = None) -> Result:
        whole = ["simulate", "--task", task, "--url", self.gateway.url, "--key", key or self.key, *arguments]
        return await asyncio.to_thread(CliRunner().invoke, app, [*whole, "--out", str(self.file)])

    async def make_agent(self, *, max_turns: int = 20) -> None:
        """`demo`, served by the gateway from now on."""
        made = await self.gateway.admin.post("/admin/agents", json={"name": "demo", "max_turns": max_turns})
        assert made.status_code == 201, made.text

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    async def stored(self, line: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = (await self.gateway.admin.get(f"/conversations/{line['conversation_id']}")).json()
        return found


@pytest.fixture
async def simulation(
    gateway: RunningGateway, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Simulation:
    monkeypatch.setenv("NOCK_HOME", str(tmp_path / "home"))
    key, _ = await create_key(database, Scope.CHAT, Scope.FEEDBACK)
    return Simulation(gateway, key, tmp_path / "conversations.jsonl")


async def test_what_a_turn_earns_is_on_that_turn_and_a_cut_is_no_end(
    simulation: Simulation, scripted_engine: ScriptedEngine
) -> None:
    await simulation.make_agent(max_turns=20)
    scripted_engine.reply = "is it a dog ?"
    done = await simulation.run("twenty-questions", "--conversations", "3", "--parallel", "3")
    assert done.exit_code == 0, done.output
    # Returns 0, -20 and -20 on a way from -20 to -2.8.
    row = done.stdout.splitlines()[1].split("  ")
    assert [cell.strip() for cell in row if cell.strip()][:4] == ["demo@base", "3", "-13.33", "-26.40 to -0.27"]
    assert [cell.strip() for cell in row if cell.strip()][4:] == ["33%", "-2.80", "39%"]
    assert done.stderr == ""
    assert len(simulation.lines()) == 3
    for line in simulation.lines():
        found = await simulation.stored(line)
        assert {turn["turn_id"]: turn["reward"] for turn in found["turns"]} == line["rewards"]
        assert (found["return"], found["state"]) == (line["return"], "matured")
        assert found["user"] == f"twenty-questions-10-{line['seed']}"
        is_dog = line["seed"] == DOG
        assert [episode["ended_by"] for episode in found["episodes"]] == ["closed" if is_dog else "cap"]
        assert (line["end"], len(line["rewards"])) == (("terminal", 1) if is_dog else ("truncated", 20))


async def test_a_cut_that_looks_like_an_end_is_not_passed_over(
    simulation: Simulation, scripted_engine: ScriptedEngine
) -> None:
    await simulation.make_agent(max_turns=21)
    scripted_engine.reply = "is it a dog ?"
    done = await simulation.run("twenty-questions", "--conversations", "2")
    assert done.exit_code == 0, done.output
    assert "1 were cut after 20 turns by the task but not by demo" in done.stderr
    assert "`max_turns: 20`" in done.stderr
    assert {line["seed"]: line["ended_by"] for line in simulation.lines()} == {0: "closed", DOG: "closed"}


async def test_a_late_outcome_comes_after_others_and_a_lost_one_never(
    simulation: Simulation, scripted_engine: ScriptedEngine
) -> None:
    await simulation.make_agent(max_turns=12)
    scripted_engine.reply = "escalate ."
    support, first, count = find_task("support-desk"), 327, 16  # a stretch in which one outcome comes at once
    chosen = ["--seed", str(first), "--conversations", str(count), "--parallel", "4"]
    done = await simulation.run("support-desk", *chosen)
    assert done.exit_code == 0, done.output
    lines = simulation.lines()
    assert sorted(line["seed"] for line in lines) == list(range(first, first + count))
    found = [await simulation.stored(line) for line in lines]
    delays = [support.delay(line["seed"]) for line in lines]
    assert [line["told_after"] for line in lines] == delays
    assert {None, 0} < set(delays)
    for place, (line, delay) in enumerate(zip(lines, delays, strict=True)):
        if delay is None:
            assert (found[place]["state"], found[place]["return"]) == ("awaiting", None)
            continue
        assert (found[place]["state"], found[place]["return"]) == ("matured", line["return"])
        last = found[min(place + delay, count - 1)] if delay else found[place]
        heard = datetime.fromisoformat(found[place]["feedback"][0]["received_at"])
        closed = datetime.fromisoformat(last["closed_at"])
        assert heard > closed if delay else heard < closed


async def test_lines_of_several_runs_follow_one_another(
    simulation: Simulation, scripted_engine: ScriptedEngine
) -> None:
    await simulation.make_agent()
    scripted_engine.reply = "is it a dog ?"
    for _ in range(2):
        done = await simulation.run("twenty-questions", "--conversations", "1", "--seed", str(DOG))
        assert done.exit_code == 0, done.output
    first, second = simulation.lines()
    assert first["conversation_id"] != second["conversation_id"]
    assert first["seed"] == second["seed"] == DOG


@pytest.mark.parametrize(("scope", "lacking"), [(Scope.CHAT, "feedback"), (Scope.FEEDBACK, "chat")])
async def test_a_key_that_may_not_do_both_is_refused_in_one_line(
    simulation: Simulation, scripted_engine: ScriptedEngine, database: Database, scope: Scope, lacking: str
) -> None:
    await simulation.make_agent()
    secret, _ = await create_key(database, scope)
    done = await simulation.run("twenty-questions", "--conversations", "2", key=secret)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: This key lacks the scope {lacking}. (403")
    assert done.stderr.count("\n") == 1


async def test_an_unknown_agent_is_refused_in_one_line(simulation: Simulation) -> None:
    await simulation.make_agent()
    done = await simulation.run("twenty-questions", "--agent", "nobody")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: There is no agent 'nobody'. (404")


async def test_an_engine_that_fails_ends_it_with_its_reason(
    simulation: Simulation, scripted_engine: ScriptedEngine
) -> None:
    await simulation.make_agent()
    scripted_engine.fault = "refuse"
    done = await simulation.run("twenty-questions", "--conversations", "50", "--parallel", "2")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "maximum context length" in done.stderr
    assert len(scripted_engine.requests) <= 6  # whoever has not begun does not begin
