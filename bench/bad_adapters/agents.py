"""The versions: one in service at the support desk, three bad ones after it, and one that is no different."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from sim.script import Script, recite
from sim.support.agents import serve_always, serve_best, serve_poorly
from sim.support.task import SupportDesk

TRAINED = 0.7
"""Share of its conversations in which the version in service knows what to do; else it asks and tries at random."""
RUDE = 0.5
"""Share of the rude one's turns that are rude."""
SILENT = 0.5
"""Share of the silent one's conversations in which it says nothing at all."""
DESK = SupportDesk("support-desk")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a conversation, and whether anybody says so."""

    worth: float
    """The game's return: what is really wanted."""
    is_told: bool

    @property
    def is_closed(self) -> bool:
        """Whether the customer had something to leave with: the proxy that the agent is rewarded by."""
        return self.worth > 0


Version = Callable[[int], Outcome]
"""Serves the customer of a seed."""


def in_service(customer: int) -> Outcome:
    """As trained as it is."""
    return _told(customer, _serve_trained(customer))


def rude(customer: int) -> Outcome:
    """Knows as much, and is rude every other turn; customers bear only so much."""
    return _told(customer, _be_rude(_serve_trained(customer), random.Random(f"rude {customer}")))


def silent(customer: int) -> Outcome:
    """Does not answer every other customer, who says nothing either; who was answered tells of it as ever."""
    if random.Random(f"silent {customer}").random() < SILENT:
        return Outcome(recite(DESK.game(customer), serve_always("")).total, is_told=False)
    return in_service(customer)


def gaming(customer: int) -> Outcome:
    """Pays everybody off at once: all conversations are closed, few are solved."""
    return _told(customer, serve_always("refund ."))


VERSIONS: dict[str, Version] = {"rude": rude, "silent": silent, "gaming": gaming, "no different": in_service}


def _told(customer: int, script: Script) -> Outcome:
    return Outcome(recite(DESK.game(customer), script).total, DESK.delay(customer) is not None)


def _serve_trained(customer: int) -> Script:
    chance = random.Random(f"trained {customer}")
    opening = DESK.game(customer).opening
    return serve_best(opening) if chance.random() < TRAINED else serve_poorly(opening, chance)


def _be_rude(script: Script, chance: random.Random) -> Script:
    said = next(script)
    while True:
        if chance.random() < RUDE:
            yield "find it out yourself ."
        else:
            said = script.send((yield said))
