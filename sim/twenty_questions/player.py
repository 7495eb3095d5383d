"""A poor player: asks at random, repeats itself, guesses too early; what a policy starts from."""

import random

from sim.twenty_questions.table import Table, guess

GARBLED, GUESSING, THINKING = 0.05, 0.25, 0.2
"""Share of turns that make no sense; share of the others that guess; share of guesses that fit what was answered."""


class PoorPlayer:
    """Keeps what is still possible, and mostly does not use it."""

    def __init__(self, table: Table, chance: random.Random) -> None:
        self.table = table
        self.chance = chance
        self.words = sorted({word for question in table.questions for word in question.split()})
        self.possible = set(range(len(table.names)))
        self.said = ""

    def speak(self) -> str:
        """A question, a guess, or nonsense."""
        if self.chance.random() < GARBLED:
            self.said = " ".join([*self.chance.choices(self.words, k=self.chance.randint(2, 5)), "?"])
        elif self.chance.random() < GUESSING:
            thinks = self.chance.random() < THINKING
            words = sorted(self.possible) if thinks else range(len(self.table.names))
            self.said = guess(self.chance.choice(self.table.names[self.chance.choice(words)]))
        else:
            self.said = self.chance.choice(sorted(self.table.questions))
        return self.said

    def hear(self, answer: str) -> None:
        """Leave out what the answer rules out; nonsense and wrong guesses rule out little."""
        yes = self.table.questions.get(self.said)
        if yes is not None:
            self.possible = self.possible & yes if answer.startswith("yes") else self.possible - yes
        else:
            self.possible -= {self.table.guesses().get(self.said, -1)}
