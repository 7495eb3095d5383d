"""Guess My City: the hidden thing is a city, and any sentence that names one city guesses it."""

from sim.guess_my_city.cities import famous_cities
from sim.guess_my_city.questions import ask_about
from sim.riddles.game import RiddleTask
from sim.riddles.players import Habits


class GuessMyCity(RiddleTask):
    """The game over the famous cities."""

    def __init__(self, name: str, habits: Habits) -> None:
        cities = famous_cities()
        guesses = [[f"is it {city.name} ?"] for city in cities]
        super().__init__(name, "guess my city .", ask_about(cities), guesses, habits)
        self.cities = {tuple(city.name.split()): place for place, city in enumerate(cities)}
        self.longest = max(len(name) for name in self.cities)

    def find_guess(self, question: str) -> int | None:
        """The city that is named; none where several are, or a list of all cities would win at once."""
        words = question.split()
        spans = (
            tuple(words[start : start + length]) for length in range(1, self.longest + 1) for start in range(len(words))
        )
        named = {self.cities[span] for span in spans if span in self.cities}
        return named.pop() if len(named) == 1 else None
