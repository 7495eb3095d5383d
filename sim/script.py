"""Plays a scripted agent against a game; knows neither the script nor the game."""

from collections.abc import Generator
from dataclasses import dataclass

from sim.task import End, Game

Script = Generator[str, str, None]
"""An agent that is written down: yields an utterance, is sent the answer."""


@dataclass(frozen=True, slots=True)
class Recital:
    """What a script said, and what it earned."""

    said: tuple[str, ...]
    total: float
    end: End


def recite(game: Game, script: Script) -> Recital:
    """The script's utterances until the game ends; a script must not stop before."""
    said = [next(script)]
    total = 0.0
    while True:
        answer = game.answer(said[-1])
        total += answer.reward
        if answer.end is not None:
            return Recital(tuple(said), total, answer.end)
        said.append(script.send(answer.message))
