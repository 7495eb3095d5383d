"""`nock canary`: put a version before a share of new conversations, and see what its trial shows."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli.gateway import Gateway, clear_errors, fail
from cli.options import Json, Key, Url
from cli.tables import show

TRIALS = ("adapter", "beside", "state", "weight", "units", "verdict", "started_at", "ended_at", "reason")
GATES = ("metric", "canary", "stable", "difference", "interval", "proved_for", "proved_against", "missing")
ALARMS = ("alarm", "canary", "stable", "tolerance", "rings")


def canary(
    subject: Annotated[str, typer.Argument(help="A version to put on trial (demo@v1), or an agent to look at.")],
    weight: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Share of new conversations; 0 stops the trial.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; it is kept with the event.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Without the evidence that is missing; needs a reason.")
    ] = False,
    as_json: Json = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Begin, change or stop a version's trial (with --weight), or show an agent's trials."""
    agent = subject.partition("@")[0]
    if weight is not None and "@" not in subject:
        fail(f"Name a version, as in {agent}@v1: an agent has several.")
    with clear_errors():
        gateway = Gateway(url, key, scope="admin")
        if weight is not None:
            body = {"weight": weight, "reason": reason, "force": force}
            rollout = gateway.call("POST", f"/admin/adapters/{quote(subject, safe='')}/canary", body)
            typer.echo(_told(subject, rollout))
            return
        trials = gateway.call("GET", f"/admin/agents/{agent}/canaries")["data"]
    if "@" in subject:
        trials = [trial for trial in trials if trial["adapter"] == subject]
    if as_json:
        show(trials, TRIALS, as_json=True, empty="")
        return
    show([_row(trial) for trial in trials], TRIALS, as_json=False, empty=f"{subject} has never been on trial.")
    evidence = trials[0]["evidence"] if trials else None
    if evidence is not None:
        typer.echo(f"\n{trials[0]['adapter']}, gate by gate:")
        show([_gate(gate) for gate in evidence["gates"]], GATES, as_json=False, empty="No gates.")
        typer.echo("")
        show(evidence["alarms"], ALARMS, as_json=False, empty="No alarms.")


def _told(subject: str, rollout: Mapping[str, Any]) -> str:
    if rollout["canary"] != subject:
        return f"{subject} is on trial no more; {rollout['stable']} serves everybody"
    return f"{subject} meets {rollout['weight']:.0%} of new conversations, {rollout['stable']} the others"


def _row(trial: Mapping[str, Any]) -> dict[str, Any]:
    return {**trial, "units": (trial["evidence"] or {}).get("units", 0)}


def _gate(gate: Mapping[str, Any]) -> dict[str, Any]:
    """Means with how many they are of, and whether either side is proved."""
    arms = {arm: gate[arm] for arm in ("canary", "stable")}
    means = {arm: f"{_figure(told['mean'])} of {told['told']}" for arm, told in arms.items()}
    return {
        "metric": gate["metric"],
        **means,
        "difference": gate["difference"],
        "interval": None if gate["interval"] is None else " to ".join(map(_figure, gate["interval"])),
        "proved_for": gate["for"]["crossed"],
        "proved_against": gate["against"]["crossed"],
        "missing": "; ".join(f"{arm} {told['missing']}" for arm, told in arms.items()),
    }


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
