"""The catalogue: products made up by chance once and for all from the words of the shelves; knows no customer."""

import random
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

SHELVES = Path(__file__).with_name("shelves.toml")
OF_A_KIND = 14
"""Products of each kind."""
SEED = 0


@dataclass(frozen=True, slots=True)
class Product:
    """One thing to buy."""

    kind: str
    department: str
    attributes: tuple[str, ...]
    """Three; the title shows the first two."""
    options: Mapping[str, tuple[str, ...]]
    """What may be chosen, and the values there are of it."""
    price: int
    """In dollars."""

    @property
    def title(self) -> str:
        """What a list of results shows."""
        return f"{' '.join(self.attributes[:2])} {self.kind}"

    @property
    def words(self) -> tuple[str, ...]:
        """What a search finds it by."""
        values = [value for values in self.options.values() for value in values]
        return (*self.attributes, self.kind, self.department, *values)


@lru_cache
def catalogue() -> tuple[Product, ...]:
    """All products, in the order of the shelves; the same in every process."""
    chance = random.Random(SEED)
    shelves = tomllib.loads(SHELVES.read_text())
    colors = shelves.pop("colors").split()
    products = []
    for department, shelf in shelves.items():
        attributes, values = shelf["attributes"].split(), shelf["values"].split()
        for kind, (lowest, highest) in shelf["kinds"].items():
            for _ in range(OF_A_KIND):
                options = {
                    "color": tuple(sorted(chance.sample(colors, k=chance.randint(2, 4)))),
                    shelf["option"]: tuple(value for value in values if chance.random() < 0.8) or (values[0],),
                }
                chosen = tuple(chance.sample(attributes, k=3))
                products.append(Product(kind, department, chosen, options, chance.randrange(lowest, highest + 5, 5)))
    return tuple(products)
