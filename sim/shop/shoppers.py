"""Who shops: one who reads and compares, and a poor one that a policy starts from; both know what they are told."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from sim.script import Script

GARBLED, SEARCHING, OPENING, CHOOSING = 0.06, 0.15, 0.2, 0.45
"""Shares of a poor shopper's turns: nonsense; with a page open, a new search, another page, a choice; else it buys."""
KEEPING = 0.4
"""Share of the wish's words that a poor shopper searches for, and of its choices that are what was wished for."""


@dataclass(frozen=True, slots=True)
class Request:
    """The customer's opening, read."""

    kind: str
    attributes: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    """Option and value."""
    most_dollars: int

    @property
    def words(self) -> tuple[str, ...]:
        """All that a product's page must name."""
        return (*self.attributes, self.kind, *(value for _, value in self.options))


def read_request(opening: str) -> Request:
    """Take apart "i want : light soft towel , color red , scent mint , at most 30 dollars ."."""
    first, *options, limit = opening.removeprefix("i want : ").removesuffix(" .").split(" , ")
    *attributes, kind = first.split()
    pairs = [(option, value) for option, value in (pair.split() for pair in options)]
    return Request(kind, tuple(attributes), tuple(pairs), int(limit.split()[2]))


def shop_carefully(opening: str) -> Script:
    """Searches for every word of the wish, opens what is not too dear, buys what has it all."""
    request = read_request(opening)
    results = yield f"search {' '.join(request.words)}"
    for result in results.removesuffix(" .").split(" , "):
        number, *_, price, _ = result.split()
        if int(price) > request.most_dollars:
            continue
        page = yield f"open {number}"
        if set(request.words) <= set(page.split()):
            break
    for option, value in request.options:
        yield f"choose {option} {value}"
    while True:
        yield "buy"


def shop_poorly(opening: str, chance: random.Random) -> Script:
    """Forgets half of the wish, opens anything, buys too early."""
    request = read_request(opening)
    found = page = ""
    while True:
        said = _act(request, found, page, chance)
        heard = yield said
        if said.startswith("search"):
            found, page = heard, ""
        elif said.startswith("open") and " dollars ," in heard:
            page = heard


def _act(request: Request, found: str, page: str, chance: random.Random) -> str:
    """What a poor shopper does with these results and this page before it."""
    if chance.random() < GARBLED:
        return " ".join(chance.choices(["search", "open", "choose", "buy", "1", "dollars", *request.words], k=3))
    draw = chance.random()
    if "dollars" not in found or draw < SEARCHING:
        return f"search {' '.join(_some(request.words, chance))}"
    if not page or draw < SEARCHING + OPENING:
        return f"open {chance.randint(1, 3)}"
    if draw < SEARCHING + OPENING + CHOOSING:
        return _choose(request, page, chance)
    return "buy"


def _some(words: Sequence[str], chance: random.Random) -> Sequence[str]:
    return [word for word in words if chance.random() < KEEPING] or [chance.choice(words)]


def _choose(request: Request, page: str, chance: random.Random) -> str:
    """One of the wish's options, or anything that the page offers."""
    if chance.random() < KEEPING:
        option, value = chance.choice(request.options)
    else:
        option, *values = chance.choice(page.removesuffix(" .").split(" , ")[2:]).split()
        value = chance.choice(values)
    return f"choose {option} {value}"
