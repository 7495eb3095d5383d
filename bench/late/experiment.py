"""One run: a policy serves, outcomes come late or never, and one way learns from them until enough have come."""

from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import AutoTokenizer

from bench.curves import EVALUATION_SEEDS, MAX_NEW_TOKENS
from bench.late.telling import Told, inverted
from bench.late.ways import PER_STEP, REPLAY, Moment, Way
from bench.methods.archer import Archer
from bench.playing.games import Played
from bench.playing.transitions import transitions_of
from bench.runs import SMALL_MODERN
from sim.support.task import NEVER_TOLD, SupportDesk
from worker.archer.config import ArcherConfig

LOUD = "the loud one"
"""The user who tells the contrary of what happened."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """What is tried."""

    way: Way
    delay: int
    """Conversations between the end of one and its outcome."""
    seed: int
    poisoned: float = 0.0
    """Share of the conversations that are one user's who tells the contrary."""
    config: ArcherConfig = SMALL_MODERN


def run(experiment: Experiment, policy: Path, *, outcomes: int, conversations: int, points: int = 8) -> dict[str, Any]:
    """Serve and learn until so many outcomes have matured and so many conversations were held.

    Gives the return on the fixed games after shares of the outcomes and, by itself, after the conversations.
    """
    task, tokenizer = SupportDesk("support-desk"), AutoTokenizer.from_pretrained(policy)
    archer = Archer(policy, experiment.config, per_step=PER_STEP, replay=REPLAY, seed=experiment.seed)
    generator = torch.Generator().manual_seed(1_000 + experiment.seed)
    chance = Random(f"outcomes of {experiment.seed}")
    played: list[Told] = []
    version = learned = 0

    def games(seeds: range, draws: torch.Generator) -> list[Played]:
        return archer.play(tokenizer, task, seeds, generator=draws, max_new_tokens=MAX_NEW_TOKENS)

    def measure() -> float:
        measured = games(EVALUATION_SEEDS, torch.Generator().manual_seed(0))
        return sum(game.total for game in measured) / len(measured)

    record: dict[str, Any] = {"points": [], "updates": [], "at_conversations": None}
    due = [outcomes * place // points for place in range(points + 1)]
    while due or record["at_conversations"] is None:
        known = sum(told.told_at <= len(played) for told in played)
        if due and known >= due[0]:
            record["points"].append({"outcomes": known, "conversations": len(played), "return": measure()})
            due = [place for place in due if place > known]
        if record["at_conversations"] is None and len(played) >= conversations:
            record["at_conversations"] = measure()
        if not due and record["at_conversations"] is not None:
            break
        first = 1_000_000 * (1 + experiment.seed) + len(played)
        for game in games(range(first, first + PER_STEP), generator):
            played.append(_told(game, version, len(played), experiment, chance))
        moment = Moment(played, len(played), version, learned)
        chosen = experiment.way(moment)
        if not chosen:
            continue
        learned = len(moment.known)
        turns = [turn for game, by in chosen for turn in transitions_of(game, on_policy=by == version)]
        figures = archer.learner.update(turns)
        stalest = max(version - by for _, by in chosen)
        version += figures.actor_skipped is None
        record["updates"].append(
            {
                "conversations": len(played),
                "return": sum(told.game.total for told in played[-PER_STEP:]) / PER_STEP,
                "skipped": figures.actor_skipped,
                "kl": figures.actor.kl_to_start if figures.actor else None,
                "stalest": stalest,
            }
        )
    return record


def _told(game: Played, version: int, number: int, experiment: Experiment, chance: Random) -> Told:
    told_at = float("inf") if chance.random() < NEVER_TOLD else number + 1 + experiment.delay
    is_poisoned = chance.random() < experiment.poisoned
    told = Told(game, version, told_at, user=LOUD if is_poisoned else str(number))
    return replace(told, game=inverted(game)) if is_poisoned else told
