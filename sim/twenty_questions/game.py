"""The game: a hidden word, and a user who answers yes, no, or that the question makes no sense."""

import random
from collections.abc import Sequence
from functools import cached_property

from sim.task import Answer, End, Game, Task
from sim.twenty_questions.optimum import best_mean_return
from sim.twenty_questions.player import PoorPlayer
from sim.twenty_questions.table import Table

OPENING = "guess my word ."
YES, NO, INVALID = "yes .", "no .", "invalid question ."
MAX_TURNS = 20


class TwentyQuestionsGame(Game):
    """One hidden word. Each turn costs 1, the one that wins costs nothing; after the twentieth the game is cut."""

    opening = OPENING

    def __init__(self, table: Table, guesses: dict[str, int], hidden: int) -> None:
        self.table = table
        self.guesses = guesses
        self.hidden = hidden
        self.turns = 0

    def answer(self, utterance: str) -> Answer:
        """Yes to a guess by any of the word's names wins; what is not in the grammar costs a turn too."""
        self.turns += 1
        question = " ".join(utterance.split())
        if self.guesses.get(question) == self.hidden:
            return Answer(YES, 0.0, End.TERMINAL)
        end = End.TRUNCATED if self.turns >= MAX_TURNS else None
        if question in self.guesses:
            return Answer(NO, -1.0, end)
        if question in self.table.questions:
            return Answer(YES if self.hidden in self.table.questions[question] else NO, -1.0, end)
        return Answer(INVALID, -1.0, end)


class TwentyQuestions(Task):
    """The game over one table of words."""

    max_turns = MAX_TURNS
    floor = -float(MAX_TURNS)
    optimum_is_exact = True

    def __init__(self, name: str, table: Table) -> None:
        self.name = name
        self.table = table
        self.guesses = table.guesses()

    @cached_property
    def optimum(self) -> float:
        """Mean return of the best player, by dynamic programming over what is still possible."""
        return best_mean_return(self.table)

    def game(self, seed: int) -> TwentyQuestionsGame:
        """The words come in turn, so that a fixed range of seeds holds each equally often."""
        return TwentyQuestionsGame(self.table, self.guesses, seed % len(self.table.names))

    def demonstrate(self, seed: int) -> Sequence[str]:
        """A game of somebody who asks at random and guesses too early."""
        game = self.game(seed)
        player = PoorPlayer(self.table, random.Random(seed))
        said = []
        for _ in range(MAX_TURNS):
            said.append(player.speak())
            answer = game.answer(said[-1])
            if answer.end is not None:
                break
            player.hear(answer.message)
        return said

    def vocabulary(self) -> Sequence[str]:
        """The words of all questions, guesses and answers."""
        sentences = [OPENING, YES, NO, INVALID, *self.table.questions, *self.guesses]
        return sorted({word for sentence in sentences for word in sentence.split()})
