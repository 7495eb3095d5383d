"""Who plays riddles: the greedy player, and a poor one that a policy starts from."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from sim.riddles.greedy import choose_question, first_of
from sim.riddles.riddle import Riddle, members
from sim.script import Script
from sim.task import Game

THINK, GO_ON, MANY = "think aloud .", "go on .", "many ."
ROUNDS, NAMED = 9, 10
"""Of thinking aloud: answers at most, and things at most that are told one by one."""


@dataclass(frozen=True, slots=True)
class Habits:
    """What makes a player poor."""

    garbled: float = 0.05
    """Share of turns that make no sense."""
    guessing: float = 0.25
    """Share of the other turns that guess."""
    thinking: float = 0.2
    """Share of guesses that fit what was answered."""
    glances: int = 1
    """Of how many random questions it asks the one that parts most evenly what is still possible."""


class Notes:
    """What is still possible. `guesses` are the sentences that guess each thing, the usual one first."""

    def __init__(self, riddle: Riddle, guesses: Sequence[Sequence[str]]) -> None:
        self.riddle = riddle
        self.places = {sentence: place for place, sentences in enumerate(guesses) for sentence in sentences}
        self.possible = riddle.everything

    def take(self, said: str, answer: str) -> None:
        """Leave out what the answer rules out; a guess that is answered missed."""
        if said in self.riddle.parts:
            self.possible &= self.riddle.parts[said][answer]
        elif said in self.places:
            self.possible &= ~(1 << self.places[said])

    def largest_part(self, question: str) -> int:
        """The most that an answer to the question could leave."""
        return max((self.possible & part).bit_count() for part in self.riddle.parts[question].values())


def play_greedily(riddle: Riddle, guesses: Sequence[Sequence[str]]) -> Script:
    """Asks what parts best, guesses where that is better."""
    notes = Notes(riddle, guesses)
    while True:
        said = choose_question(riddle, notes.possible) or guesses[first_of(notes.possible)][0]
        notes.take(said, (yield said))


def play_poorly(riddle: Riddle, guesses: Sequence[Sequence[str]], habits: Habits, chance: random.Random) -> Script:
    """Asks at random, repeats itself, guesses too early, and mostly does not use what it was told."""
    notes = Notes(riddle, guesses)
    questions = sorted(riddle.parts)
    words = sorted({word for question in questions for word in question.split()})
    while True:
        if chance.random() < habits.garbled:
            said = " ".join([*chance.choices(words, k=chance.randint(2, 5)), "?"])
        elif chance.random() < habits.guessing:
            thinks = chance.random() < habits.thinking
            said = chance.choice(guesses[chance.choice(members(notes.possible) if thinks else range(riddle.count))])
        else:
            said = min((chance.choice(questions) for _ in range(habits.glances)), key=notes.largest_part)
        notes.take(said, (yield said))


def think_aloud(
    game: Game, riddle: Riddle, guesses: Sequence[Sequence[str]], names: Sequence[str], chance: random.Random
) -> list[str]:
    """What user and agent say, in turn: a question or a guess, its answer, what is left then, and on."""
    notes = Notes(riddle, guesses)
    questions = sorted(riddle.parts)
    messages = [THINK]
    for _ in range(ROUNDS):
        asks = chance.random() < 0.75
        said = chance.choice(questions) if asks else guesses[chance.choice(members(notes.possible))][0]
        answer = game.answer(said)
        notes.take(said, answer.message)
        left = members(notes.possible)
        messages += [said, answer.message]
        if answer.end is not None:
            break
        messages += [" ".join(names[place] for place in left) if len(left) <= NAMED else MANY, GO_ON]
    return messages
