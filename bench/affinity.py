"""How often a conversation's next turn finds its engine again, and how even the load is, by how far a busy engine is
given way to.

`python -m bench.affinity`; simulated, half a minute, no server.
"""

import argparse
import heapq
import json
import random
from pathlib import Path
from uuid import UUID

from core.engine import affinity

RESULT = Path(__file__).parent / "results" / "affinity.json"
TURNS, THINKING_SECONDS = 8, 10.0
LENGTHS = (1.0, 1.0, 2.0, 4.0, 16.0)
"""Seconds of a reply: most are short, some are long."""
SLACKS: dict[str, tuple[int, float] | None] = {
    "least loaded": None,
    "0": (0, 0.0),
    "1": (1, 0.0),
    "2": (2, 0.0),
    "4": (4, 0.0),
    "2 or 25 %": (2, 0.25),
    "2 or 50 %": (2, 0.5),
    "no bound": (10**9, 0.0),
}


def play(slack: tuple[int, float] | None, engines: int, gateways: int, people: int, seed: int) -> dict[str, float]:
    """Closed loop: each person speaks, waits for the reply, thinks, and begins another conversation after a while."""
    rng = random.Random(seed)
    urls = [f"http://engine-{number}:8000" for number in range(engines)]
    known = [dict.fromkeys(urls, 0) for _ in range(gateways)]
    all_of_them = dict.fromkeys(urls, 0)
    talks: dict[int, tuple[UUID, str | None]] = {}
    events = [(rng.random() * THINKING_SECONDS, person, "") for person in range(people)]
    heapq.heapify(events)
    again = turns = 0
    excess: list[float] = []
    for _ in range(60_000):
        now, person, ends_on = heapq.heappop(events)
        gateway = known[person % gateways]
        if ends_on:
            gateway[ends_on] -= 1
            all_of_them[ends_on] -= 1
            heapq.heappush(events, (now + rng.expovariate(1 / THINKING_SECONDS), person, ""))
            continue
        talk, last = talks.get(person, (UUID(int=rng.getrandbits(128)), None))
        chosen = _choose(gateway, talk, slack, rng)
        turns += last is not None
        again += last == chosen
        begins_anew = rng.random() < 1 / TURNS
        talks[person] = (UUID(int=rng.getrandbits(128)), None) if begins_anew else (talk, chosen)
        gateway[chosen] += 1
        all_of_them[chosen] += 1
        excess.append(max(all_of_them.values()) / (sum(all_of_them.values()) / engines))
        heapq.heappush(events, (now + rng.choice(LENGTHS), person, chosen))
    excess.sort()
    return {
        "same_engine": round(again / turns, 3),
        "busiest_over_mean_median": round(excess[len(excess) // 2], 2),
        "busiest_over_mean_p95": round(excess[len(excess) * 95 // 100], 2),
    }


def _choose(load: dict[str, int], talk: UUID, slack: tuple[int, float] | None, rng: random.Random) -> str:
    if slack is None:
        least = min(load.values())
        return rng.choice([url for url, count in load.items() if count == least])
    return affinity.in_order(load, talk, more=slack[0], share=slack[1])[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--into", type=Path, default=RESULT)
    given = parser.parse_args()
    rows = []
    for engines, gateways, people in ((2, 1, 20), (4, 1, 200), (4, 4, 200), (8, 4, 2000)):
        for name, slack in SLACKS.items():
            row = {"engines": engines, "gateways": gateways, "people": people, "gives_way_beyond": name}
            rows.append(row | play(slack, engines, gateways, people, seed=1))
            print(*rows[-1].values(), sep="\t")
    given.into.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
