"""Hidden things, and what the answers to questions leave of them: sets as bit masks; knows no words and no turns."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Riddle:
    """Things, one of which is hidden, and for each question how its answers part them."""

    count: int
    parts: Mapping[str, Mapping[str, int]]
    """Question, then answer, then the things answered so: bit i stands for thing i. A thing has one answer."""

    @property
    def everything(self) -> int:
        """All things."""
        return (1 << self.count) - 1

    def answer(self, question: str, thing: int) -> str:
        """The answer to this question for this thing; the question must be one of the riddle's."""
        return next(answer for answer, things in self.parts[question].items() if things >> thing & 1)


def members(things: int) -> list[int]:
    """The places of the things of a set, in order."""
    return [place for place in range(things.bit_length()) if things >> place & 1]
