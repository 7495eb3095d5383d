"""The small WebShop as a task."""

import random
from collections.abc import Sequence

from sim.script import recite
from sim.shop.game import INVALID, MAX_TURNS, NO_CHOICE, NOTHING, SOLD, ShopGame
from sim.shop.products import catalogue
from sim.shop.shoppers import shop_poorly
from sim.shop.wishes import most_dollars
from sim.task import Task

GRAMMAR = "search open choose buy chosen 1 2 3 i want : at most dollars , ."


class MiniShop(Task):
    """All wishes over one catalogue."""

    max_turns = MAX_TURNS
    floor = 0.0
    optimum = 1.0
    # No purchase earns more, and shop_carefully earns it for every wish.
    optimum_is_exact = True

    def __init__(self, name: str) -> None:
        self.name = name

    def game(self, seed: int) -> ShopGame:
        """The seed's customer in the one shop."""
        return ShopGame(seed)

    def demonstrate(self, seed: int) -> Sequence[str]:
        """Somebody who forgets half of the wish and buys too early."""
        game = self.game(seed)
        return recite(game, shop_poorly(game.opening, random.Random(seed))).said

    def vocabulary(self) -> Sequence[str]:
        """The words of the shelves, of all amounts of dollars, and of the few sentences around them."""
        words = {word for product in catalogue() for word in (*product.words, *product.options)}
        amounts = {str(dollars) for dollars in range(5, most_dollars() + 1, 5)}
        return sorted(words | amounts | set(" ".join([GRAMMAR, INVALID, NOTHING, NO_CHOICE, SOLD]).split()))
