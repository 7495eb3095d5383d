"""What a task is: seeded dialogues with a simulated user and a score to measure against; knows no model and no HTTP."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class End(StrEnum):
    """How a dialogue ended: for good, or cut by the cap on turns while it could have gone on."""

    TERMINAL = "terminal"
    TRUNCATED = "truncated"


@dataclass(frozen=True, slots=True)
class Answer:
    """The user's next message, what the agent's utterance earned, and whether that was the last one."""

    message: str
    reward: float
    end: End | None = None


class Game(ABC):
    """One dialogue. `opening` is the user's first message."""

    opening: str

    @abstractmethod
    def answer(self, utterance: str) -> Answer:
        """The user's answer to any text at all; a text outside the grammar is answered, never refused."""


class Task(ABC):
    """A family of dialogues whose best attainable mean return is known."""

    name: str
    max_turns: int
    floor: float
    """The lowest return there is."""

    @property
    @abstractmethod
    def optimum(self) -> float:
        """Mean return of the best player; `optimum_is_exact` says whether it is proved or an oracle's score."""

    optimum_is_exact: bool

    @abstractmethod
    def game(self, seed: int) -> Game:
        """The dialogue of this seed: the same seed is the same hidden word, user and answers."""

    @abstractmethod
    def demonstrate(self, seed: int) -> Sequence[str]:
        """What a poor scripted agent says in `game(seed)`, utterance by utterance: the data a policy starts from."""

    def think_aloud(self, seed: int) -> Sequence[str]:
        """A dialogue about the same world in which the agent says what follows from the answers; user first, in turn.

        What a language model has read before it is anybody's agent, and a small one made from nothing has not. Never
        played and never rewarded; empty where the task has none.
        """
        return ()

    def delay(self, seed: int) -> int | None:
        """How many conversations later the outcome of `game(seed)` is told, 0 for at once; None where it never is."""
        return 0

    @abstractmethod
    def vocabulary(self) -> Sequence[str]:
        """Every word that user or agent may say, for a tokenizer of whole words; sorted, no repeats."""
