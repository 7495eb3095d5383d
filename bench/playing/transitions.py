"""Played games as the algorithm's transitions."""

from collections.abc import Iterable

from bench.playing.games import Played
from sim.task import End
from worker.archer.types import Transition


def transitions_of(
    played: Played, *, on_policy: bool, cut_is_end: bool = False, paid_at_end: bool = False
) -> list[Transition]:
    """The turns of one game. `cut_is_end` takes the cap on turns for an end, as the published code does; `paid_at_end`
    tells what the game earned at its last turn only, as an outcome does."""
    over = played.end is End.TERMINAL or cut_is_end
    last = len(played.turns) - 1
    return [
        Transition(
            episode=str(played.seed),
            observation=_words(turn.prompt_ids),
            utterance=turn.text,
            next_observation=_words(played.next_ids if place == last else played.turns[place + 1].prompt_ids),
            reward=turn.reward if not paid_at_end else played.total if place == last else 0.0,
            terminal=over and place == last,
            prompt_ids=turn.prompt_ids,
            completion_ids=turn.completion_ids,
            behaviour_logprobs=turn.logprobs,
            temperature=1.0,
            trains_actor=True,
            next_prompt_ids=played.next_ids if place == last else None,
            on_policy=on_policy,
        )
        for place, turn in enumerate(played.turns)
    ]


def _words(ids: Iterable[int]) -> str:
    """A text that no critic of tokens reads, but that must tell one state from another."""
    return " ".join(map(str, ids))
