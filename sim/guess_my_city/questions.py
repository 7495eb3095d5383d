"""What may be asked about a hidden city, and the answer for each city."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from sim.guess_my_city.cities import City
from sim.riddles.game import NO, YES
from sim.riddles.riddle import Riddle

REFUSED = "i can not tell you that ."
TELLS_TOO_MUCH = ("which city ?", "which country ?", "which language ?", "which currency ?")
MILLIONS = (1, 2, 3, 5, 8, 10)
DEGREES_NORTH = (20, 30, 40, 50)
HOURS_AHEAD = (0, 1, 3, 5, 7)
WITH_ARTICLE = ("united", "democratic", "netherlands", "philippines")


def ask_about(cities: Sequence[City]) -> Riddle:
    """Every question there is, and how its answers part the cities."""
    parts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for question, answers in _answered(cities):
        for place, answer in enumerate(answers):
            parts[question][answer] |= 1 << place
    return Riddle(len(cities), {question: dict(answers) for question, answers in parts.items()})


def _answered(cities: Sequence[City]) -> Iterator[tuple[str, Iterable[str]]]:
    """A question, and its answer for each city."""
    yield "which continent ?", [f"{city.continent} ." for city in cities]
    yield "how many people live there ?", [_size(city) for city in cities]
    yield "is it north or south ?", ["north ." if city.latitude > 0 else "south ." for city in cities]
    for question in TELLS_TOO_MUCH:
        yield question, [REFUSED] * len(cities)
    for question, truths in _closed(cities):
        yield question, [YES if holds else NO for holds in truths]


def _size(city: City) -> str:
    if city.population <= 1_000_000:
        return "fewer than 1 million ."
    return next(f"more than {size} million ." for size in (10, 5, 2, 1) if city.population > size * 1_000_000)


def _closed(cities: Sequence[City]) -> Iterator[tuple[str, Iterable[bool]]]:
    """A question that is answered with yes or no, and whether it is yes for each city."""
    yield "is it a capital ?", [city.is_capital for city in cities]
    yield "is it south of the equator ?", [city.latitude < 0 for city in cities]
    yield "is it in the tropics ?", [abs(city.latitude) < 23.4 for city in cities]
    yield "is it west of greenwich ?", [city.longitude < 0 for city in cities]
    for degrees in DEGREES_NORTH:
        yield f"is it north of {degrees} degrees ?", [city.latitude > degrees for city in cities]
    for hours in HOURS_AHEAD:
        question = f"is its clock more than {hours} hours ahead of utc ?"
        yield question, [city.hours_ahead > hours for city in cities]
    for millions in MILLIONS:
        question = f"do more than {millions} million people live there ?"
        yield question, [city.population > millions * 1_000_000 for city in cities]
    for continent in _named(city.continent for city in cities):
        yield f"is it in {continent} ?", [city.continent == continent for city in cities]
    # Where country and city have one name, the question would be a guess.
    for country in _named(city.country for city in cities if city.country != city.name):
        article = "the " if any(word in WITH_ARTICLE for word in country.split()) else ""
        yield f"is it in {article}{country} ?", [city.country == country for city in cities]
    for language in _named(city.language for city in cities if city.language):
        yield f"is the first language {language} ?", [city.language == language for city in cities]
    for currency in _named(city.currency for city in cities):
        yield f"is the money called {currency} ?", [city.currency == currency for city in cities]


def _named(names: Iterable[str]) -> list[str]:
    return sorted(set(names))
