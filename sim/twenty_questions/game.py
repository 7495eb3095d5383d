"""Twenty Questions: the hidden thing is a word of a table, and a guess says exactly one of its names."""

import random
from collections.abc import Sequence
from functools import cached_property

from sim.riddles.game import RiddleTask
from sim.riddles.players import MANY, Habits, think_aloud
from sim.twenty_questions.optimum import COUNTABLE, best_mean_return
from sim.twenty_questions.table import Table, guess


class TwentyQuestions(RiddleTask):
    """The game over one table of words."""

    def __init__(self, name: str, table: Table, habits: Habits) -> None:
        guesses = [[guess(name) for name in names] for names in table.names]
        super().__init__(name, "guess my word .", table.riddle(), guesses, habits)
        self.table = table
        self.optimum_is_exact = len(table.names) <= COUNTABLE

    @cached_property
    def optimum(self) -> float:
        """Mean return of the best player where that can be counted out, else of the greedy one."""
        return best_mean_return(self.table) if self.optimum_is_exact else super().optimum

    def think_aloud(self, seed: int) -> Sequence[str]:
        """Random questions and guesses, and after each answer which words are left."""
        names = [names[0] for names in self.table.names]
        return think_aloud(self.game(seed), self.riddle, self.guesses, names, random.Random(seed))

    def vocabulary(self) -> Sequence[str]:
        """The words of the game, and those of thinking aloud."""
        spoken = {word for message in self.think_aloud(0) for word in message.split()}
        return sorted({*super().vocabulary(), *spoken, *MANY.split()})
