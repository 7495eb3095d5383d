"""How long people wait for a reply while the learner works beside the engine on the same machine, against a quiet one.

Speaks HTTP to a running stack (`make up`). Blocks of requests without and with a learner step alternate, so that a
machine that drifts slows both; the figure is the ratio of the medians.
"""

import argparse
import json
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

RESULT = Path(__file__).parent / "results" / "chat_while_learning.json"
TOKENS = 16
CONVERSATIONS = 24


def client(url: str, home: Path, scope: str) -> httpx.Client:
    secret = json.loads((home / "keys.json").read_text())[scope]
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=300)


def ask(chat: httpx.Client, number: int) -> tuple[float, httpx.Response]:
    body = {
        "model": "demo",
        "messages": [{"role": "user", "content": f"Tell me something about the number {number}."}],
        "max_tokens": TOKENS,
        "stream": False,
    }
    started = time.perf_counter()
    answer = chat.post("/v1/chat/completions", json=body)
    answer.raise_for_status()
    return time.perf_counter() - started, answer


def feed(chat: httpx.Client, feedback: httpx.Client, number: int) -> None:
    """A conversation with an outcome, so that the learner has something new to learn from."""
    _, answer = ask(chat, number)
    reply = answer.json()["choices"][0]["message"]["content"]
    outcome = {"turn_id": answer.json()["id"], "value": len(reply) / 100, "final": True}
    feedback.post("/feedback", json=outcome).raise_for_status()


def run_state(admin: httpx.Client, run: str) -> dict[str, Any]:
    state: dict[str, Any] = admin.get(f"/admin/runs/{run}").json()
    return state


def measure_round(chat: httpx.Client, feedback: httpx.Client, admin: httpx.Client, requests: int) -> dict[str, Any]:
    """Seconds a reply without a learner, then while one learns from fresh conversations."""
    with ThreadPoolExecutor(8) as people:
        list(people.map(lambda number: feed(chat, feedback, number), range(CONVERSATIONS)))
    quiet = [ask(chat, number)[0] for number in range(requests)]
    run = admin.post("/admin/agents/demo/learn").json()["run_id"]
    while (state := run_state(admin, run))["progress"] == 0.0 and state["state"] in ("queued", "running"):
        time.sleep(0.1)
    busy = [ask(chat, number)[0] for number in range(requests)]
    if run_state(admin, run)["state"] != "running":
        raise SystemExit("No figure: the learner ended while chat was measured; ask for fewer --requests.")
    wait_for_the_learner(admin)
    return {"quiet": quiet, "learning": busy}


def wait_for_the_learner(admin: httpx.Client) -> None:
    while any(run["state"] in ("queued", "running") for run in admin.get("/admin/agents/demo/runs").json()["data"]):
        time.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.chat_while_learning", description=__doc__)
    parser.add_argument("--url", default=f"http://127.0.0.1:{os.environ.get('NOCK_PORT', '8000')}")
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("NOCK_HOME", ".nock")))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--requests", type=int, default=12, help="requests a block")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    chat, feedback, admin = (client(given.url, given.home, scope) for scope in ("chat", "feedback", "admin"))
    schedule = admin.get("/admin/agents/demo").json()["schedule"]
    admin.patch("/admin/agents/demo", json={"schedule": schedule | {"enabled": False}}).raise_for_status()
    try:
        wait_for_the_learner(admin)  # one may be at work by the agent's own schedule
        rounds = [measure_round(chat, feedback, admin, given.requests) for _ in range(given.rounds)]
    finally:
        admin.patch("/admin/agents/demo", json={"schedule": schedule}).raise_for_status()
    quiet = statistics.median(second for each in rounds for second in each["quiet"])
    learning = statistics.median(second for each in rounds for second in each["learning"])
    result = {
        "tokens_a_reply": TOKENS,
        "p50_seconds": {"quiet": quiet, "learning": learning},
        "ratio": learning / quiet,
        "ratio_by_round": [statistics.median(r["learning"]) / statistics.median(r["quiet"]) for r in rounds],
        "rounds": rounds,
    }
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(
        f"chat p50 of {TOKENS} tokens: {quiet:.2f} s quiet, {learning:.2f} s while learning: x {learning / quiet:.2f}"
    )


if __name__ == "__main__":
    main()
