"""Turns seen as episodes: where one ends, whether anything can be learned, and the index form that the critic reads."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from worker.archer.types import CriticBatch, Transition, TransitionError


def episode_ends(transitions: Sequence[Transition]) -> list[bool]:
    """True at the last turn of each episode; an episode whose turns are not together is refused."""
    names = [transition.episode for transition in transitions]
    ends = [place + 1 == len(names) or names[place + 1] != name for place, name in enumerate(names)]
    if sum(ends) != len(set(names)):
        raise TransitionError(
            "The turns of an episode must be given together: an episode's name comes back after another's."
        )
    return ends


def reason_to_leave_actor(transitions: Sequence[Transition], ends: Sequence[bool]) -> str | None:
    """Why nothing in these turns says which replies were better; None if something may.

    Rewards say nothing if every episode sums to the same, all last turns earned alike and so did all others: then
    returns differ by discount alone. One episode has nothing to be compared with, whatever its turns earned.
    """
    if not any(transition.trains_actor for transition in transitions):
        return "no turn trains the actor"
    if sum(ends) < 2:
        return "a single episode has nothing to be compared with"
    totals: dict[str, float] = {}
    for transition in transitions:
        totals[transition.episode] = totals.get(transition.episode, 0.0) + transition.reward
    last = {transition.reward for transition, is_last in zip(transitions, ends, strict=True) if is_last}
    earlier = {transition.reward for transition, is_last in zip(transitions, ends, strict=True) if not is_last}
    if len(set(totals.values())) == 1 and len(last) == 1 and len(earlier) <= 1:
        return "all episodes were rewarded alike"
    return None


def index_texts(
    transitions: Sequence[Transition], weight: Float[Tensor, "turns"], device: torch.device
) -> tuple[list[str], CriticBatch]:
    """Each distinct text once, and the turns as places among them."""
    places: dict[str, int] = {}

    def place(text: str) -> int:
        return places.setdefault(text, len(places))

    observation = [place(transition.observation) for transition in transitions]
    utterance = [place(transition.utterance) for transition in transitions]
    # Where nothing follows, any place will do: the value read there is multiplied by zero.
    following = [0 if t.next_observation is None else place(t.next_observation) for t in transitions]
    bootstraps = [float(not t.terminal and t.next_observation is not None) for t in transitions]
    batch = CriticBatch(
        observation=torch.tensor(observation),
        utterance=torch.tensor(utterance),
        next_observation=torch.tensor(following),
        reward=torch.tensor([transition.reward for transition in transitions], dtype=torch.float32),
        bootstraps=torch.tensor(bootstraps),
        weight=weight,
    )
    return list(places), CriticBatch(*(column.to(device) for column in batch))
