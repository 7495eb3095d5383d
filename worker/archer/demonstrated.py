"""Demonstrations as turns, for whatever reads turns: the replies that should have been given, and those that were."""

from collections.abc import Sequence

from worker.archer.types import Demonstration, Transition


def turns_shown(demonstrations: Sequence[Demonstration]) -> list[Transition]:
    """The turns as they should have gone.

    At temperature 1: nobody sampled them, so there is no distribution but the policy's own to clone them into.
    """
    return [_turn(each, each.utterance, each.completion_ids, trains_actor=True) for each in demonstrations]


def turns_said(demonstrations: Sequence[Demonstration]) -> list[Transition]:
    """The turns as they went, for the critic alone."""
    return [_turn(each, each.instead, each.instead_ids, trains_actor=False) for each in demonstrations]


def _turn(demonstration: Demonstration, utterance: str, ids: tuple[int, ...], *, trains_actor: bool) -> Transition:
    return Transition(
        episode=demonstration.episode,
        observation=demonstration.observation,
        utterance=utterance,
        next_observation=None,
        reward=0.0,
        terminal=True,
        prompt_ids=demonstration.prompt_ids,
        completion_ids=ids,
        behaviour_logprobs=(0.0,) * len(ids),  # a place for each token; no ratio is ever taken of them
        temperature=1.0,
        trains_actor=trains_actor,
        conversation=demonstration.conversation,
    )
