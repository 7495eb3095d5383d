"""The support desk as a dialogue: a customer with a need she does not spell out, and so much patience."""

import random

from sim.support.needs import Need, needs
from sim.support.rules import MAX_TURNS, PATIENCE, react
from sim.task import Answer, End, Game

GOODBYE = "goodbye ."


class SupportGame(Game):
    """One customer. Only the end earns something, and nothing where she leaves; after the twelfth turn it is cut."""

    def __init__(self, need: Need, patience: int, opening: str) -> None:
        self.need = need
        self.patience = patience
        self.opening = opening
        self.bothered = 0
        self.turns = 0

    def answer(self, utterance: str) -> Answer:
        """Her reaction, or a goodbye where that took the last of her patience."""
        reaction = react(self.need, " ".join(utterance.split()), self.turns)
        self.turns += 1
        if reaction.reward is not None:
            return Answer(reaction.message, reaction.reward, End.TERMINAL)
        self.bothered = max(0, self.bothered + reaction.bother)
        if self.bothered >= self.patience:
            return Answer(GOODBYE, 0.0, End.TERMINAL)
        return Answer(reaction.message, 0.0, End.TRUNCATED if self.turns >= MAX_TURNS else None)


def meet_customer(seed: int) -> SupportGame:
    """The customer of this seed; 128 seeds in a row have each need with each patience."""
    turn, place = divmod(seed, len(needs()))
    need = needs()[place]
    return SupportGame(need, PATIENCE[turn % len(PATIENCE)], random.Random(seed).choice(need.openings))
