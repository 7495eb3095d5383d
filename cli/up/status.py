"""What `nock status` knows: the processes, whether the gateway is ready, the agents and their stable version."""

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from cli.gateway import FAILURES, Gateway
from cli.tables import show
from cli.up.home import Home
from cli.up.journal import read_journal
from cli.up.programs import NAMES
from cli.up.readiness import http_body
from cli.up.supervision import ProgramState, Supervisor, SupervisorGone

COLUMNS = ("process", "state", "pid", "uptime", "restarts", "log")


@dataclass(frozen=True, slots=True)
class Status:
    """A stack at a glance."""

    running: bool
    processes: list[dict[str, Any]]
    gateway: dict[str, Any]
    agents: list[dict[str, Any]]

    @property
    def well(self) -> bool:
        """All processes run, or start for the first time, and the gateway is ready."""
        steady = all(
            process["state"] == "running" or (process["state"] == "starting" and not process["restarts"])
            for process in self.processes
        )
        return self.running and steady and bool(self.gateway["ready"])


def read_status(home: Home) -> Status:
    """Ask the supervisor, then the gateway."""
    try:
        states = sorted(Supervisor(home).states(), key=lambda state: NAMES.index(state.name))
    except SupervisorGone:
        return Status(False, [], {"url": None, "ready": False, "says": None}, [])
    url = home.address.read_text().strip()
    ready, says = http_body(f"{url}/readyz")
    gateway = {"url": url, "ready": ready, "says": says}
    processes = [_describe(home, state) for state in states]
    return Status(True, processes, gateway, _agents(url) if ready else [])


def print_status(home: Home, status: Status, *, as_json: bool) -> None:
    """For people, or for scripts."""
    if as_json:
        print_json = {"well": status.well, "home": str(home.folder), **asdict(status)}
        Console().print_json(json.dumps(print_json))
        return
    console = Console(highlight=False)
    if not status.running:
        console.print(f"Nock does not run on {home.folder}: start it with `nock up`.", soft_wrap=True)
        return
    rows = [{**row, "uptime": _duration(row["uptime_seconds"])} for row in status.processes]
    show(rows, COLUMNS, as_json=False, empty="No processes.")
    says = "ready" if status.gateway["ready"] else f"not ready: {status.gateway['says']}"
    console.print(f"\nGateway {status.gateway['url']} {says}\n", markup=False, soft_wrap=True)
    show(status.agents, ("agent", "stable", "canary", "weight"), as_json=False, empty="No agents are known.")


def _describe(home: Home, state: ProgramState) -> dict[str, Any]:
    journal = read_journal(home.journal(state.name))
    runs = state.state in ("STARTING", "RUNNING") and journal.status is None
    return {
        "process": state.name,
        "state": state.state.lower(),
        "pid": journal.pid if runs else None,
        "uptime_seconds": max(0, round(time.time() - state.started_at)) if runs else None,
        "restarts": max(0, journal.start_count - 1),
        "log": str(home.log(state.name)),
    }


def _agents(url: str) -> list[dict[str, Any]]:
    gateway = Gateway(url, None, scope="admin")
    try:
        names = [agent["name"] for agent in gateway.call("GET", "/admin/agents")["data"]]
        return [gateway.call("GET", f"/admin/agents/{name}/rollout") for name in names]
    except FAILURES:
        return []  # a stack whose keys were made elsewhere: the rest of the status is still true


def _duration(seconds: int | None) -> str:
    if seconds is None:
        return "-"
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
