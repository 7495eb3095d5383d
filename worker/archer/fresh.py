"""Utterances that the policy says now, at states that were logged; knows no values."""

import dataclasses
from collections.abc import Callable, Sequence

import torch

from worker.archer.actor import Actor
from worker.archer.config import ArcherConfig
from worker.archer.speaker import Speaker
from worker.archer.types import Transition

Decode = Callable[[Sequence[int]], str]
"""Token ids to text, as a critic that reads texts wants it."""

STATES_AT_ONCE = 64


def say_anew(
    actor: Actor,
    states: Sequence[Transition],
    config: ArcherConfig,
    generator: torch.Generator,
    decode: Decode | None,
    *,
    each: int = 1,
) -> list[Transition]:
    """`each` utterances of the policy as it is, for each turn's observation, at the turn's own temperature.

    What comes back are one-turn episodes, state after state, without reward and without an end: material for the critic
    to judge and for the actor to learn from.
    """
    on_device = torch.Generator(device=actor.device)
    on_device.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
    said: list[Transition] = []
    # States whose prompts are of one length go together, so that little of a batch is padding.
    order = sorted(range(len(states)), key=lambda place: (states[place].temperature, len(states[place].prompt_ids)))
    for start in range(0, len(order), STATES_AT_ONCE):
        asked = [states[place] for place in order[start : start + STATES_AT_ONCE]]
        speaker = Speaker(
            actor.model,
            len(asked),
            ends=actor.end_tokens(),
            max_new_tokens=config.max_new_tokens,
            generator=on_device,
            temperatures=[turn.temperature for turn in asked],
        )
        prompts = [turn.prompt_ids[-config.max_prompt_tokens :] for turn in asked]
        for number, utterance in enumerate(speaker.speak(prompts, each=each)):
            turn = asked[number // each]
            said.append(
                dataclasses.replace(
                    turn,
                    episode=f"{turn.episode} anew {len(said)}",
                    utterance="" if decode is None else decode(utterance.ids),
                    completion_ids=tuple(utterance.ids),
                    behaviour_logprobs=tuple(utterance.logprobs),
                    next_observation=None,
                    next_prompt_ids=None,
                    reward=0.0,
                    terminal=True,
                    trains_actor=turn.temperature > 0,
                    on_policy=True,
                )
            )
    back = [0] * len(order)
    for place, state in enumerate(order):
        back[state] = place
    return [said[back[state] * each + number] for state in range(len(states)) for number in range(each)]
