"""Each candidate by on-policy games and by logged ones: what it is worth, and what a service would have thought."""

import math
import pickle
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoTokenizer

from bench.curves import MAX_NEW_TOKENS
from bench.offline_evidence.candidates import MADE_OF, SEEDS, Weights, made, scaled
from bench.playing.games import Played, play
from bench.playing.transitions import transitions_of
from bench.runs import WITHOUT_LEAP
from sim.support.task import SupportDesk
from worker.archer.actor import Actor
from worker.archer.evidence import gather_evidence
from worker.evaluation.drawing import MOST
from worker.evaluation.weighing import describe
from worker.training import user_prompt_of

TRUTH, TRUTH_OF_START = range(5_000_000, 5_008_192), range(5_000_000, 5_032_768)
"""Games that say what a candidate is worth, and the start."""
LOGS = 3
"""Independent sets of logged games, each as many as a service weighs a version by."""
FIRST_MADE_OF, FIRST_LOGGED = 2_000_000, 3_000_000
TOGETHER = 1_024


class Known(NamedTuple):
    """A policy, and what it is worth."""

    weights: Weights
    worth: float
    error: float


class Desk:
    """The support desk, and a policy whose adapter is changed."""

    def __init__(self, policy: Path) -> None:
        self.task = SupportDesk("support-desk")
        self.tokenizer = AutoTokenizer.from_pretrained(policy)
        self.actor = Actor.from_pretrained(policy, WITHOUT_LEAP)
        self.start: Weights = scaled(self.actor.adapter_state(), 0.0)

    def play(self, weights: Weights, seeds: range, draws: int) -> list[Played]:
        """These games with these weights."""
        self.actor.load_adapter_state(weights)
        return play(
            self.actor.model,
            self.tokenizer,
            self.task,
            seeds,
            generator=torch.Generator().manual_seed(draws),
            max_new_tokens=MAX_NEW_TOKENS,
            together=TOGETHER,
        )

    def worth(self, weights: Weights, seeds: range) -> tuple[float, float]:
        """Mean return on policy, and its standard error."""
        returns = [game.total for game in self.play(weights, seeds, 0)]
        return statistics.mean(returns), statistics.stdev(returns) / math.sqrt(len(returns))

    def weigh(self, weights: Weights, games: Sequence[Played]) -> dict[str, Any]:
        """What the service's judge makes of the candidate by these games of the start policy."""
        self.actor.load_adapter_state(weights)
        turns = [turn for game in games for turn in transitions_of(game, on_policy=False)]
        units = {str(game.seed): str(game.seed) for game in games}
        prompt = user_prompt_of(self.tokenizer)
        state, _, figures = describe(gather_evidence(self.actor, turns, units, WITHOUT_LEAP, user_prompt=prompt))
        return {"state": state.value, **figures}


def run(policy: Path, state: Path) -> dict[str, Any]:
    """Every candidate: its worth, what each log says of it, and what the very games say that it was made of.

    Candidates and their worth are kept in `state`: they take a quarter of an hour, and weighing takes three minutes.
    """
    desk = Desk(policy)
    known = _read(state)
    if "start" not in known:
        known["start"] = Known(desk.start, *desk.worth(desk.start, TRUTH_OF_START))
    start = known["start"]
    firsts = [FIRST_LOGGED + MOST * log for log in range(LOGS)]
    logs = [desk.play(desk.start, range(first, first + MOST), 10 + log) for log, first in enumerate(firsts)]
    record: dict[str, Any] = {"start": start.worth, "start_error": start.error, "candidates": []}
    for seed in SEEDS:
        first = FIRST_MADE_OF + MADE_OF * seed
        games = desk.play(desk.start, range(first, first + MADE_OF), 100 + seed)
        for candidate in made(policy, games, seed, {name: each.weights for name, each in known.items()}):
            if candidate.name not in known:
                known[candidate.name] = Known(candidate.weights, *desk.worth(candidate.weights, TRUTH))
                state.parent.mkdir(parents=True, exist_ok=True)
                state.write_bytes(pickle.dumps({name: tuple(each) for name, each in known.items()}))
            worth, error = known[candidate.name][1:]
            record["candidates"].append(
                {
                    "name": candidate.name,
                    "kind": candidate.kind,
                    "distance": candidate.distance,
                    "difference": worth - start.worth,
                    "error": math.hypot(error, start.error),
                    "logs": [desk.weigh(candidate.weights, log) for log in logs],
                    "made_of": desk.weigh(candidate.weights, games),
                }
            )
            print(f"{candidate.name}: {worth - start.worth:+.4f}", flush=True)
    return record


def _read(state: Path) -> dict[str, Known]:
    if not state.is_file():
        return {}
    return {name: Known(*each) for name, each in pickle.loads(state.read_bytes()).items()}
