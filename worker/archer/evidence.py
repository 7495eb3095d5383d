"""What logged conversations say of a policy that held none of them; knows no versions, tags or verdicts."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worker.archer.actor import Actor
from worker.archer.config import ArcherConfig
from worker.archer.fresh import say_anew
from worker.archer.importance import summed_log_ratios
from worker.archer.judging import FOLDS, CrossFit, Replies, Turns, returns_of
from worker.archer.off_policy import (
    Estimate,
    cumulative_weights,
    effective_units,
    estimate,
    gains_by_place,
    trust_judge,
    weighted_doubly_robust,
)
from worker.archer.returns import explained_variance
from worker.archer.spoken import read_spoken
from worker.archer.token_reader import TokenReader
from worker.archer.types import Transition, TransitionError

LEAST = 2.0 * FOLDS
"""Effective units below which nothing is judged: a few conversations would be all that a judge hears of the policy."""


class NothingInCommonError(ValueError):
    """The conversations say next to nothing of the policy."""

    def __init__(self, effective: float) -> None:
        super().__init__(f"The conversations are worth {effective:.1f} units to the policy.")
        self.effective = effective


STATES, REPLIES = 64, 4
"""Places at which the policy is asked what it would say, and how often at each."""
MOST_NEW_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Evidence:
    """What each conversation says of the difference to the policy that held it, in the order that they were given."""

    conversations: Sequence[str]
    unit: Int[Tensor, "conversations"]
    logged: Float[Tensor, "conversations"]
    """What came."""
    difference: Float[Tensor, "conversations"]
    """Its part in the estimate, less what came: the mean is the difference to whoever held the conversations."""
    fitted: Float[Tensor, "conversations"]
    """The judges' value of its first place for the policy, less that for the one which held the conversations."""
    gains: Float[Tensor, "conversations places"]
    """What the policy's own reply at each place brings, where the logged policy goes on from there."""
    trust: float
    """How far the judges are believed: 1 is the doubly robust estimate, 0 importance sampling alone."""
    weight: Float[Tensor, "conversations"]
    """Of the whole conversation."""
    effective: float
    """How many equally weighted units the conversations are worth."""
    covered: Estimate
    """The mean weight of whole conversations, 1 where the logged ones hold all that the policy would say."""
    truncated_share: float
    """Of the conversations, those whose weight was cut."""
    explained_variance: float | None
    """Of the returns that came, by judges who did not know them; None where all were alike."""
    penalty: float
    replies: int


class Heard(NamedTuple):
    """What the models make of the turns."""

    log_ratio: Float[Tensor, "turns"]
    """Σ (log π - log μ) of each reply."""
    state: Float[Tensor, "turns width"]
    action: Float[Tensor, "turns width"]
    asked: Int[Tensor, "replies"]
    """The turn in whose place the policy gave each reply of its own."""
    said: Float[Tensor, "replies width"]
    """The features of those replies."""


def gather_evidence(
    actor: Actor,
    transitions: Sequence[Transition],
    units: Mapping[str, str],
    config: ArcherConfig,
    *,
    user_prompt: Sequence[int] = (),
    seed: int = 0,
    on_progress: Callable[[float], None] = lambda share: None,
) -> Evidence:
    """Weigh the actor's policy by whole conversations that others held, each with its log-probs.

    `units` names whose each conversation is; those of one unit are judged by the same judge and counted together. Of
    the config only the bounds on what is read at once are taken: how a version was trained does not judge it.
    """
    turns = as_whole_conversations(transitions)
    generator = torch.Generator().manual_seed(seed)
    heard = _hear(actor, turns, config, user_prompt, generator, on_progress)
    places = _Places(torch.tensor(_ends(turns)))
    reward = torch.tensor([turn.reward for turn in turns], dtype=torch.float64)
    names = list(dict.fromkeys(turn.held_out_by for turn in turns))
    number = {unit: place for place, unit in enumerate(dict.fromkeys(units[name] for name in names))}
    unit = torch.tensor([number[units[name]] for name in names])
    log_ratio = places.padded(heard.log_ratio)
    weight = cumulative_weights(log_ratio)
    effective = effective_units(weight[:, -1], unit)
    if effective < LEAST:
        raise NothingInCommonError(effective)
    before = torch.cat([torch.ones_like(weight[:, :1]), weight[:, :-1]], dim=1)
    of_turn = unit[places.row]
    judges = CrossFit(
        Turns(heard.state, heard.action, reward, places.ends, places.flat(weight), of_turn),
        Replies(heard.state[heard.asked], heard.said, places.flat(before)[heard.asked], of_turn[heard.asked]),
        generator,
    )
    judged, own = judges.judge_policy(), judges.judge_logged()
    on_progress(1.0)
    paid, v = places.padded(reward), places.padded(judged.v)
    came = paid.sum(dim=1)
    gains = gains_by_place(paid, weight)
    robust = weighted_doubly_robust(paid, weight, places.padded(judged.q), v) - came
    trust = trust_judge(gains.sum(dim=1), robust, unit)
    return Evidence(
        conversations=names,
        unit=unit,
        logged=came,
        difference=gains.sum(dim=1) + trust * (robust - gains.sum(dim=1)),
        fitted=v[:, 0] - places.padded(own.v)[:, 0],
        gains=gains,
        trust=trust,
        weight=weight[:, -1],
        effective=effective,
        covered=estimate(weight[:, -1], unit),
        truncated_share=(weight[:, -1] < log_ratio.sum(dim=1).exp()).double().mean().item(),
        explained_variance=explained_variance(own.q, returns_of(judges.turns)),
        penalty=max(judges.penalties.values()),
        replies=len(heard.asked),
    )


def _hear(
    actor: Actor,
    turns: Sequence[Transition],
    config: ArcherConfig,
    user_prompt: Sequence[int],
    generator: torch.Generator,
    on_progress: Callable[[float], None],
) -> Heard:
    """All that takes a model: the policy's log-probs, a few replies of its own, and the base model's features."""
    reading = ArcherConfig(
        critic_reader="policy",
        critic_encoding="joint",
        train_reader=False,
        actor_utterances="logged",
        max_new_tokens=min(MOST_NEW_TOKENS, max(len(turn.completion_ids) for turn in turns)),
        max_prompt_tokens=config.max_prompt_tokens,
        max_completion_tokens=config.max_completion_tokens,
        max_tokens_per_microbatch=config.max_tokens_per_microbatch,
    )
    spoken = read_spoken(actor, turns, reading)
    log_ratio, _ = summed_log_ratios(spoken.start, spoken.table.behaviour_logprobs, spoken.table.turn, len(turns))
    on_progress(0.4)
    places = torch.randperm(len(turns), generator=generator)[:STATES]
    said = say_anew(actor, [turns[place] for place in places.tolist()], reading, generator, None, each=REPLIES)
    on_progress(0.6)
    reader = TokenReader(actor.model, reading, user_prompt=user_prompt)
    state, action = _read(reader, turns)
    _, of_said = _read(reader, said)
    on_progress(0.9)
    return Heard(log_ratio.cpu().double(), state, action, places.repeat_interleave(REPLIES), of_said)


def as_whole_conversations(transitions: Sequence[Transition]) -> list[Transition]:
    """The turns with each conversation as one episode that ends with its last turn, whatever ended it.

    A learner goes on valuing what a cap on turns cut off; what a conversation brings ends with it. Whoever held it, the
    policy in question did not.
    """
    for turn in transitions:
        if not turn.trains_actor:
            raise TransitionError(f"Nobody knows how likely a reply of episode {turn.episode!r} was.")
    return [
        dataclasses.replace(turn, episode=turn.held_out_by, terminal=last, on_policy=False)
        for turn, last in zip(transitions, _ends(transitions), strict=True)
    ]


class _Places:
    """Turns one after another as conversations by places, and back."""

    def __init__(self, ends: Bool[Tensor, "turns"]) -> None:
        self.ends = ends
        self.row = torch.cumsum(ends, dim=0) - ends.long()
        starts = torch.cat([ends.new_ones(1), ends[:-1]]).nonzero().flatten()
        self.column = torch.arange(len(ends)) - starts[self.row]

    def padded(self, value: Float[Tensor, "turns"]) -> Float[Tensor, "conversations places"]:
        shape = int(self.row[-1]) + 1, int(self.column.max()) + 1
        return value.new_zeros(shape).index_put((self.row, self.column), value)

    def flat(self, value: Float[Tensor, "conversations places"]) -> Float[Tensor, "turns"]:
        return value[self.row, self.column]


def _ends(turns: Sequence[Transition]) -> list[bool]:
    return [turn.held_out_by != after.held_out_by for turn, after in itertools.pairwise(turns)] + [True]


@torch.no_grad()
def _read(reader: TokenReader, turns: Sequence[Transition]) -> tuple[Tensor, Tensor]:
    """Features of each turn's place and of its reply there, by the base model."""
    with reader.active():
        features = reader.read(reader.index(turns), range(len(turns)), following=False)
    return features.observation.cpu().double(), features.action.cpu().double()
