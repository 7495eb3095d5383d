"""Candidates of known value near a start policy: learned ones, their contraries, imitated games, noise.

Each is a direction of LoRA weights, walked so far that a conversation's log-probs say it has a set distance from the
start. The games that they were made of are no games that they are judged by.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from bench.late.telling import inverted
from bench.methods.archer import Archer
from bench.methods.filtered_bc import FilteredBC, FilteredBCConfig
from bench.playing.games import Played
from bench.playing.transitions import transitions_of
from bench.runs import SMALL_MODERN, WITHOUT_LEAP
from worker.archer.actor import Actor
from worker.archer.evidence import as_whole_conversations
from worker.archer.importance import summed_log_ratios
from worker.archer.spoken import read_spoken

Weights = dict[str, Tensor]
MADE_OF = 192
"""Games behind each direction."""
SEEDS = range(3)
STEPS = 12
"""Halvings of the interval in which a direction's scale is sought."""
FURTHEST = 32.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A LoRA, by what it was made, and how far it lies from the start in nats a conversation."""

    kind: str
    seed: int
    distance: float
    weights: Weights
    games: Sequence[Played]
    """What it was made of."""

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.kind}, seed {self.seed}, {self.distance:g} nats"


def learned(policy: Path, games: Sequence[Played], seed: int) -> Weights:
    """Eight ArCHer updates on the same games."""
    archer = Archer(policy, replace(WITHOUT_LEAP, kl_budget=None), per_step=MADE_OF, replay=MADE_OF, seed=seed)
    archer.learn(games)
    for _ in range(7):
        archer.learn([])
    return archer.actor.adapter_state()


def leapt(policy: Path, games: Sequence[Played], seed: int) -> Weights:
    """One ArCHer update that leaps."""
    archer = Archer(policy, SMALL_MODERN, per_step=MADE_OF, replay=MADE_OF, seed=seed)
    archer.learn(games)
    return archer.actor.adapter_state()


def imitating_best(policy: Path, games: Sequence[Played], seed: int) -> Weights:
    """The best tenth of the games, ten times."""
    method = FilteredBC(policy, FilteredBCConfig(passes=10), seed=seed)
    method.learn(games)
    return method.actor.adapter_state()


def imitating_worst(policy: Path, games: Sequence[Played], seed: int) -> Weights:
    """The same where each game's reward is told the other way round."""
    return imitating_best(policy, [inverted(game) for game in games], seed)


def by_lot(policy: Path, games: Sequence[Played], seed: int) -> Weights:
    """Weights that nothing was learned from."""
    actor = Actor.from_pretrained(policy, WITHOUT_LEAP, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.02 * torch.randn(w.shape, generator=generator) for name, w in actor.adapter_state().items()}


DIRECTIONS: dict[str, tuple[Callable[[Path, Sequence[Played], int], Weights], tuple[float, ...]]] = {
    "learned": (learned, (0.05, 0.2, 0.5, -0.2)),
    "leapt": (leapt, (0.1, 0.4, -0.4)),
    "the best imitated": (imitating_best, (0.1, 0.4)),
    "the worst imitated": (imitating_worst, (0.2,)),
    "by lot": (by_lot, (0.1, 0.4)),
}
"""How each is made, and how far it is walked, below zero the other way. Twelve candidates for each of three seeds."""


def made(policy: Path, games: Sequence[Played], seed: int, known: Mapping[str, Weights]) -> Iterator[Candidate]:
    """Those of one seed; what is `known` by its name is not made again."""
    actor = Actor.from_pretrained(policy, WITHOUT_LEAP, seed=seed)
    for kind, (make, distances) in DIRECTIONS.items():
        direction: Weights | None = None
        for distance in distances:
            candidate = Candidate(kind, seed, distance, {}, games)
            weights = known.get(candidate.name)
            if weights is None:
                direction = direction or make(policy, games, seed)
                weights = walked(actor, direction, games, distance)
            yield replace(candidate, weights=weights)


def scaled(direction: Weights, scale: float) -> Weights:
    """The same direction, so many times as far: what a LoRA adds is linear in its second factor."""
    return {name: weight * scale if "lora_B" in name else weight for name, weight in direction.items()}


def walked(actor: Actor, direction: Weights, games: Sequence[Played], distance: float) -> Weights:
    """The direction at the distance where KL(start ‖ candidate) of a whole game is as asked."""
    nearest, furthest = 0.0, FURTHEST
    for _ in range(STEPS):
        scale = (nearest + furthest) / 2
        actor.load_adapter_state(scaled(direction, math.copysign(scale, distance)))
        is_too_far = kl_of_games(actor, games) > abs(distance)
        nearest, furthest = (nearest, scale) if is_too_far else (scale, furthest)
    return scaled(direction, math.copysign(nearest, distance))


def kl_of_games(actor: Actor, games: Sequence[Played]) -> float:
    """mean (eᵈ - 1 - d), d the log-ratio of a whole game: what the games say of KL(start ‖ actor)."""
    turns = as_whole_conversations([turn for game in games for turn in transitions_of(game, on_policy=False)])
    spoken = read_spoken(actor, turns, WITHOUT_LEAP)
    of_turn, _ = summed_log_ratios(spoken.start, spoken.table.behaviour_logprobs, spoken.table.turn, len(turns))
    place = {game.seed: number for number, game in enumerate(games)}
    game_of = torch.tensor([place[int(turn.episode)] for turn in turns])
    ratio = of_turn.new_zeros(len(games)).index_add(0, game_of, of_turn)
    return (ratio.exp() - 1 - ratio).mean().item()
