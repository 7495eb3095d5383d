"""The support desk as a task, where outcomes come late or never."""

import random
from collections.abc import Sequence
from functools import cached_property

from sim.script import recite
from sim.support.agents import serve_poorly
from sim.support.game import GOODBYE, SupportGame, meet_customer
from sim.support.needs import needs
from sim.support.optimum import best, known_at_first
from sim.support.rules import MAX_TURNS, react, utterances
from sim.task import Task

NEVER_TOLD = 0.2
"""Share of conversations whose outcome never comes; it says nothing of how they went."""
LATEST = 40
"""Conversations after which every outcome that comes has come."""


class SupportDesk(Task):
    """All customers."""

    max_turns = MAX_TURNS
    floor = 0.0
    optimum_is_exact = True

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def optimum(self) -> float:
        """Mean return of the best agent, each need being as likely as the others."""
        return sum(best(known_at_first(need.openings[0]))[0] for need in needs()) / len(needs())

    def game(self, seed: int) -> SupportGame:
        """The seed's customer."""
        return meet_customer(seed)

    def demonstrate(self, seed: int) -> Sequence[str]:
        """Somebody who asks and tries at random."""
        game = self.game(seed)
        return recite(game, serve_poorly(game.opening, random.Random(seed))).said

    def delay(self, seed: int) -> int | None:
        """A fifth of the outcomes never comes, the others within forty conversations."""
        chance = random.Random(f"outcome {seed}")
        return None if chance.random() < NEVER_TOLD else chance.randint(0, LATEST)

    def vocabulary(self) -> Sequence[str]:
        """The words of all complaints, utterances and reactions."""
        messages = {react(need, said, 0).message for need in needs() for said in (*utterances(), "")}
        openings = {opening for need in needs() for opening in need.openings}
        return sorted({word for text in {*messages, *openings, *utterances(), GOODBYE} for word in text.split()})
