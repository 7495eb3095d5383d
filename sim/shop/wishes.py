"""What a customer wants, and what a purchase is worth to her."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from sim.shop.products import Product, catalogue

WISHES = 1_000
"""Different customers; the next one wants what the first one did."""
SPARE_DOLLARS = (0, 5, 10, 20)


@dataclass(frozen=True, slots=True)
class Wish:
    """A product in the customer's words; at least one product of the catalogue has all of it."""

    kind: str
    department: str
    attributes: tuple[str, ...]
    options: Mapping[str, str]
    most_dollars: int

    @property
    def text(self) -> str:
        """What the customer says."""
        options = "".join(f" , {option} {value}" for option, value in self.options.items())
        return f"i want : {' '.join(self.attributes)} {self.kind}{options} , at most {self.most_dollars} dollars ."


def most_dollars() -> int:
    """More than this no customer can be willing to pay."""
    return max(product.price for product in catalogue()) + max(SPARE_DOLLARS)


def draw_wish(seed: int) -> Wish:
    """The wish of this seed: two attributes, one or two options and the price of a product, or a little more."""
    chance = random.Random(seed % WISHES)
    product = chance.choice(catalogue())
    options = {option: chance.choice(values) for option, values in product.options.items()}
    if chance.random() < 0.5:
        del options["color"]
    return Wish(
        kind=product.kind,
        department=product.department,
        attributes=tuple(chance.sample(product.attributes, k=2)),
        options=options,
        most_dollars=product.price + chance.choice(SPARE_DOLLARS),
    )


def reward(wish: Wish, product: Product, chosen: Mapping[str, str]) -> float:
    """WebShop's reward of a purchase, between 0 and 1 (Yao et al. 2022, equation 1).

        r = r_type · (attributes matched + options matched + [price within the limit]) / (attributes + options + 1)

    r_type is 1 for the kind wished for, 0.5 for another kind of its department, 0.1 where no more than an attribute is
    shared, else 0. The published one compares the nouns of titles, which these titles have but one of.
    """
    attributes = len(set(wish.attributes) & set(product.attributes))
    options = sum(chosen.get(option) == value for option, value in wish.options.items())
    matched = attributes + options + (product.price <= wish.most_dollars)
    return _type_match(wish, product, attributes) * matched / (len(wish.attributes) + len(wish.options) + 1)


def _type_match(wish: Wish, product: Product, attributes: int) -> float:
    if product.kind == wish.kind:
        return 1.0
    if product.department == wish.department:
        return 0.5
    return 0.1 if attributes else 0.0
