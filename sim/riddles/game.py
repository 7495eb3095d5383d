"""A riddle as a dialogue: a user who answers questions, and says when a guess hits."""

import random
from collections.abc import Callable, Sequence
from functools import cached_property

from sim.riddles.greedy import greedy_turns
from sim.riddles.players import Habits, play_poorly
from sim.riddles.riddle import Riddle
from sim.script import recite
from sim.task import Answer, End, Game, Task

YES, NO, INVALID = "yes .", "no .", "invalid question ."
MAX_TURNS = 20


class RiddleGame(Game):
    """One hidden thing. Each turn costs 1, the one that wins costs nothing; after the twentieth the game is cut."""

    def __init__(self, opening: str, riddle: Riddle, find_guess: Callable[[str], int | None], hidden: int) -> None:
        self.opening = opening
        self.riddle = riddle
        self.find_guess = find_guess
        self.hidden = hidden
        self.turns = 0

    def answer(self, utterance: str) -> Answer:
        """Yes to a guess that hits; what is no guess and not in the grammar costs a turn too."""
        self.turns += 1
        question = " ".join(utterance.split())
        guessed = self.find_guess(question)
        if guessed == self.hidden:
            return Answer(YES, 0.0, End.TERMINAL)
        end = End.TRUNCATED if self.turns >= MAX_TURNS else None
        if guessed is not None:
            return Answer(NO, -1.0, end)
        if question in self.riddle.parts:
            return Answer(self.riddle.answer(question, self.hidden), -1.0, end)
        return Answer(INVALID, -1.0, end)


class RiddleTask(Task):
    """All games over one riddle. `guesses` are the sentences that guess each thing, the usual one first."""

    max_turns = MAX_TURNS
    floor = -float(MAX_TURNS)
    optimum_is_exact = False

    def __init__(
        self, name: str, opening: str, riddle: Riddle, guesses: Sequence[Sequence[str]], habits: Habits
    ) -> None:
        self.name = name
        self.opening = opening
        self.riddle = riddle
        self.guesses = guesses
        self.habits = habits
        self.places = {sentence: place for place, sentences in enumerate(guesses) for sentence in sentences}

    def find_guess(self, question: str) -> int | None:
        """The thing that this sentence guesses."""
        return self.places.get(question)

    @cached_property
    def optimum(self) -> float:
        """Mean return of the greedy player over all things."""
        lost = greedy_turns(self.riddle).values()
        return -sum(min(turns, MAX_TURNS) for turns in lost) / self.riddle.count

    def game(self, seed: int) -> RiddleGame:
        """The things come in turn, so that a fixed range of seeds holds each equally often."""
        return RiddleGame(self.opening, self.riddle, self.find_guess, seed % self.riddle.count)

    def demonstrate(self, seed: int) -> Sequence[str]:
        """A game of somebody who asks at random and guesses too early."""
        poor = play_poorly(self.riddle, self.guesses, self.habits, random.Random(seed))
        return recite(self.game(seed), poor).said

    def vocabulary(self) -> Sequence[str]:
        """The words of all questions, guesses and answers."""
        answers = {answer for parts in self.riddle.parts.values() for answer in parts}
        guesses = [sentence for sentences in self.guesses for sentence in sentences]
        sentences = [self.opening, YES, NO, INVALID, *answers, *self.riddle.parts, *guesses]
        return sorted({word for sentence in sentences for word in sentence.split()})
