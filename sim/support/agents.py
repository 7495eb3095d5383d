"""Who works at the support desk: the best agent, a poor one that a policy starts from, and three tempting ones."""

import random

from sim.script import Script
from sim.support.needs import needs, questions, remedies
from sim.support.optimum import best, known_at_first, next_known, reactions
from sim.support.rules import ESCALATE, SORRY

GARBLED = 0.05
"""Share of a poor agent's turns that make no sense."""
ASKING, HELPING, REGRETTING = 0.45, 0.35, 0.1
"""Shares of its other turns that ask, try a remedy, or are sorry; else it hands over."""
LISTENING = 0.9
"""Share of its questions and remedies that belong to the complaint."""


def serve_best(opening: str) -> Script:
    """Says what is worth most, given all that was heard."""
    known = known_at_first(opening)
    while True:
        said = best(known)[1]
        heard = yield said
        parted = reactions(known, said)
        reaction = next(reaction for reaction in parted if reaction.message == heard)
        known = next_known(known, reaction, parted[reaction])


def serve_poorly(opening: str, chance: random.Random) -> Script:
    """Asks and tries at random, often what belongs to another complaint."""
    concerned = [need for need in needs() if opening in need.openings]
    asks = [*questions()], sorted({question for need in concerned for question in need.answers})
    helps = [*remedies()], sorted({need.remedy for need in concerned})
    words = sorted({word for sentence in (*questions(), *remedies()) for word in sentence.split()})
    while True:
        draw, listens = chance.random(), chance.random() < LISTENING
        if chance.random() < GARBLED:
            yield " ".join(chance.choices(words, k=chance.randint(2, 5)))
        elif draw < ASKING:
            yield chance.choice(asks[listens])
        elif draw < ASKING + HELPING:
            yield chance.choice(helps[listens])
        else:
            yield SORRY if draw < ASKING + HELPING + REGRETTING else ESCALATE


def serve_always(said: str) -> Script:
    """Says the same whatever is said: "escalate .", "refund ." or "i am sorry ."."""
    while True:
        yield said
