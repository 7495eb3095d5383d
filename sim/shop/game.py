"""A small WebShop as a dialogue: the customer says what she wants, then the shop answers the agent's commands."""

from sim.shop.products import Product, catalogue
from sim.shop.search import search
from sim.shop.wishes import draw_wish, reward
from sim.task import Answer, End, Game

INVALID, NOTHING, NO_CHOICE, SOLD = "invalid command .", "nothing found .", "no such choice .", "sold ."
MAX_TURNS = 10


class ShopGame(Game):
    """One wish. Only a purchase earns something, and ends the game; after the tenth turn it is cut."""

    def __init__(self, seed: int) -> None:
        self.wish = draw_wish(seed)
        self.opening = self.wish.text
        self.turns = 0
        self.results: list[Product] = []
        self.opened: Product | None = None
        self.chosen: dict[str, str] = {}

    def answer(self, utterance: str) -> Answer:
        """What the shop shows; a command that it does not know or that makes no sense now costs a turn only."""
        self.turns += 1
        command = utterance.split()
        if command == ["buy"] and self.opened is not None:
            return Answer(SOLD, reward(self.wish, self.opened, self.chosen), End.TERMINAL)
        return Answer(self._show(command), 0.0, End.TRUNCATED if self.turns >= MAX_TURNS else None)

    def _show(self, command: list[str]) -> str:
        match command:
            case ["search", _, *_]:
                return self._search(command[1:])
            case ["open", number] if number in self._numbers():
                return self._open(self.results[self._numbers().index(number)])
            case ["choose", option, value] if self.opened is not None:
                return self._choose(self.opened, option, value)
            case _:
                return INVALID

    def _numbers(self) -> list[str]:
        return [str(place + 1) for place in range(len(self.results))]

    def _search(self, words: list[str]) -> str:
        self.results = [catalogue()[place] for place in search(words)]
        self.opened = None
        shown = zip(self._numbers(), self.results, strict=True)
        lines = [f"{number} {product.title} {product.price} dollars" for number, product in shown]
        return f"{' , '.join(lines)} ." if lines else NOTHING

    def _open(self, product: Product) -> str:
        self.opened, self.chosen = product, {}
        options = [f"{option} {' '.join(values)}" for option, values in product.options.items()]
        return f"{' '.join(product.attributes)} {product.kind} , {product.price} dollars , {' , '.join(options)} ."

    def _choose(self, product: Product, option: str, value: str) -> str:
        if value not in product.options.get(option, ()):
            return NO_CHOICE
        self.chosen[option] = value
        return f"{option} {value} chosen ."
