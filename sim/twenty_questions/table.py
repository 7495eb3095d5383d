"""What is true of each word: the table that the user's answers are read from."""

from collections.abc import Mapping
from dataclasses import dataclass

from sim.riddles.game import NO, YES
from sim.riddles.riddle import Riddle


@dataclass(frozen=True)
class Table:
    """Words with their other names, and for each question the words that it is true of."""

    names: tuple[tuple[str, ...], ...]
    """Every name of each word, the usual one first."""
    questions: Mapping[str, frozenset[int]]
    """A question as it must be asked, and the places of the words whose answer is yes."""

    def riddle(self) -> Riddle:
        """The same as a riddle: each question parts the words into yes and no."""
        everything = (1 << len(self.names)) - 1
        yes = {question: sum(1 << place for place in places) for question, places in self.questions.items()}
        return Riddle(
            len(self.names), {question: {YES: mask, NO: everything & ~mask} for question, mask in yes.items()}
        )


def guess(name: str) -> str:
    """The sentence that guesses a word: "is it a dog ?", "is it an apple ?", "is it pants ?"."""
    if name.endswith("s") and not name.endswith(("ss", "us")):
        return f"is it {name} ?"
    return f"is it {'an' if name[0] in 'aeiou' else 'a'} {name} ?"
