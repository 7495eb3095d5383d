"""What `nock canary` makes of a trial for the eye."""

from typing import Any

from typer.testing import CliRunner

from cli import canary as command
from cli.main import app

GATE = {
    "metric": "return",
    "canary": {"told": 40, "missing": 2, "mean": 0.75},
    "stable": {"told": 41, "missing": 0, "mean": None},
    "difference": 0.25,
    "interval": [0.125, 0.375],
    "for": {"crossed": True},
    "against": {"crossed": False},
}
TRIAL = {
    "adapter": "demo@v1",
    "beside": "demo@base",
    "state": "running",
    "weight": 0.25,
    "verdict": "promote",
    "reason": "a test",
    "started_at": "2026-11-28T09:00:00.123Z",
    "ended_at": None,
    "evidence": {
        "units": 83,
        "gates": [GATE],
        "alarms": [{"alarm": "more refusals", "canary": 0.5, "stable": 0.1, "tolerance": 0.05, "rings": True}],
    },
}


class Answering:
    """A gateway that has these trials and takes every weight."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        if method == "GET":
            return {"data": [TRIAL]}
        assert path == "/admin/adapters/demo%40v1/canary"
        tried = "demo@v1" if body["weight"] else None
        return {"canary": tried, "weight": body["weight"], "stable": "demo@base"}


def said(monkeypatch: Any, *arguments: str) -> str:
    monkeypatch.setattr(command, "Gateway", Answering)
    result = CliRunner().invoke(app, ["canary", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_trial_is_a_line_with_its_gates_and_alarms_below(monkeypatch: Any) -> None:
    told = said(monkeypatch, "demo")
    for words in ("demo@v1", "running", "83", "0.75 of 40", "- of 41", "0.125 to 0.375", "canary 2; stable 0", "True"):
        assert words in told
    assert "more refusals" in told


def test_a_weight_is_answered_with_who_meets_what(monkeypatch: Any) -> None:
    told = said(monkeypatch, "demo@v1", "--weight", "0.25", "--reason", "a test")
    assert told.strip() == "demo@v1 meets 25% of new conversations, demo@base the others"
    told = said(monkeypatch, "demo@v1", "--weight", "0")
    assert told.strip() == "demo@v1 is on trial no more; demo@base serves everybody"
