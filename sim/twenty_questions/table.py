"""What is true of each word: the table that the user's answers are read from."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Words with their other names, and for each question the words that it is true of."""

    names: tuple[tuple[str, ...], ...]
    """Every name of each word, the usual one first."""
    questions: Mapping[str, frozenset[int]]
    """A question as it must be asked, and the places of the words whose answer is yes."""

    def guesses(self) -> dict[str, int]:
        """Each sentence that guesses a word, by any of its names, and the word's place."""
        return {guess(name): place for place, names in enumerate(self.names) for name in names}


def guess(name: str) -> str:
    """The sentence that guesses a word: "is it a dog ?", "is it an apple ?", "is it pants ?"."""
    if name.endswith("s") and not name.endswith(("ss", "us")):
        return f"is it {name} ?"
    return f"is it {'an' if name[0] in 'aeiou' else 'a'} {name} ?"
