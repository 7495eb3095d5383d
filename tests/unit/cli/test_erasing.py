"""`nock erase` says in a few lines what went, what had learned from it, and what stays."""

from typing import Any

from cli.erasing import tell

CONSEQUENCES: dict[str, Any] = {"versions": [], "stable": None, "queued_run": None, "running": None}


def report(**consequences: Any) -> dict[str, Any]:
    return {
        "erasure_id": "era_1",
        "removed": {"turns": 2, "conversations": 1, "dead_letters": 0},
        "agents": [{"agent": "demo", "consequences": CONSEQUENCES | consequences}],
        "beyond_reach": ["Backups hold it."],
    }


def test_what_went_and_what_is_beyond_reach_is_told() -> None:
    assert tell(report()).splitlines() == [
        "era_1: erased 1 conversations, 2 turns",
        "Beyond reach:",
        "- Backups hold it.",
    ]


def test_what_had_learned_from_it_is_told_with_what_was_done() -> None:
    learned = {"adapter": "demo@v2", "learned": "from it", "turns": 2, "marked": "retire"}
    lines = tell(report(versions=[learned], stable="demo@v1", queued_run="run_2", running="run_1")).splitlines()
    assert lines[1:5] == [
        "demo@v2 learned from it: retire",
        "demo@v1 is stable again",
        "run_2 learns without it",
        "run_1 was learning: what comes out of it is marked if it had read it",
    ]
