"""The small WebShop: commands, the published reward by hand, and a shopper who is always content."""

import dataclasses
import random

import pytest

from sim.script import recite
from sim.shop.game import MAX_TURNS, ShopGame
from sim.shop.products import Product, catalogue
from sim.shop.search import search
from sim.shop.shoppers import read_request, shop_carefully, shop_poorly
from sim.shop.wishes import WISHES, Wish, draw_wish, most_dollars, reward
from sim.task import Answer, End

SCARF = Product(
    "scarf",
    "clothing",
    ("warm", "soft", "plain"),
    {"color": ("blue", "red"), "size": ("large", "small")},
    price=30,
)
WISH = Wish("scarf", "clothing", ("warm", "plain"), {"color": "red", "size": "small"}, most_dollars=30)


def test_a_purchase_that_has_everything_is_worth_one() -> None:
    assert reward(WISH, SCARF, {"color": "red", "size": "small"}) == 1.0


@pytest.mark.parametrize(
    ("change", "chosen", "worth"),
    [
        # Of two attributes, two options and the price, five in all:
        ({}, {}, 3 / 5),
        ({}, {"color": "red", "size": "large"}, 4 / 5),
        ({"price": 35}, {"color": "red"}, 3 / 5),
        ({"attributes": ("warm", "soft", "light")}, {"color": "red", "size": "small"}, 4 / 5),
        # Another kind of the department counts half, a shared attribute a tenth, nothing shared nothing.
        ({"kind": "hat"}, {"color": "red", "size": "small"}, 0.5),
        ({"kind": "tent", "department": "outdoor"}, {}, 0.1 * 3 / 5),
        (
            {"kind": "tent", "department": "outdoor", "attributes": ("bright", "sturdy", "compact")},
            {"color": "red"},
            0.0,
        ),
    ],
)
def test_a_purchase_is_worth_its_share_of_the_wish(
    change: dict[str, object], chosen: dict[str, str], worth: float
) -> None:
    assert reward(WISH, dataclasses.replace(SCARF, **change), chosen) == pytest.approx(worth)  # type: ignore[arg-type]


def test_a_choice_that_was_not_wished_for_neither_helps_nor_harms() -> None:
    wish = dataclasses.replace(WISH, options={"size": "small"})
    assert reward(wish, SCARF, {"color": "blue", "size": "small"}) == 1.0


def test_some_product_of_the_catalogue_has_all_of_each_wish() -> None:
    for seed in range(WISHES):
        wish = draw_wish(seed)
        assert any(
            reward(wish, product, wish.options) == 1.0
            and all(value in product.options.get(option, ()) for option, value in wish.options.items())
            for product in catalogue()
        ), wish.text


def test_the_careful_shopper_earns_everything_for_every_wish() -> None:
    recitals = [recite(ShopGame(seed), shop_carefully(ShopGame(seed).opening)) for seed in range(WISHES)]
    assert {recital.total for recital in recitals} == {1.0}
    assert max(len(recital.said) for recital in recitals) <= MAX_TURNS


def test_no_script_earns_more_than_the_optimum() -> None:
    totals = [
        recite(ShopGame(seed), shop_poorly(ShopGame(seed).opening, random.Random(seed))).total for seed in range(300)
    ]
    assert min(totals) >= 0.0
    assert max(totals) <= 1.0


def test_a_request_is_read_as_it_was_meant() -> None:
    request = read_request(WISH.text)
    assert (request.kind, request.attributes, request.most_dollars) == ("scarf", ("warm", "plain"), 30)
    assert dict(request.options) == WISH.options


def test_a_product_is_found_by_its_words_and_only_three_are_shown() -> None:
    product = catalogue()[100]
    found = search([*product.attributes, product.kind, *product.options["color"]])
    assert len(found) == 3
    assert 100 in found


def test_words_that_no_product_has_and_words_said_twice_change_no_search() -> None:
    assert search(["red", "scarf"]) == search(["red", "xylophone", "scarf", "red", "red"])
    assert search(["xylophone"]) == search([]) == []


def test_a_purchase_goes_from_search_to_page_to_choice() -> None:
    game = ShopGame(0)
    assert game.answer("search scarf").message.startswith("1 ")
    product = game.results[1]
    page = game.answer("open 2")
    assert page.message.startswith(f"{' '.join(product.attributes)} {product.kind} , {product.price} dollars , color ")
    color = product.options["color"][0]
    assert game.answer(f"choose color {color}") == Answer(f"color {color} chosen .", 0.0)
    assert game.answer("choose color ultraviolet") == Answer("no such choice .", 0.0)
    assert game.answer("buy") == Answer("sold .", reward(game.wish, product, {"color": color}), End.TERMINAL)


@pytest.mark.parametrize("said", ["buy", "open 1", "choose color red", "search", "open", "buy it", "hello"])
def test_what_makes_no_sense_now_is_invalid(said: str) -> None:
    assert ShopGame(0).answer(said) == Answer("invalid command .", 0.0)


def test_another_page_forgets_what_was_chosen_and_a_search_closes_the_page() -> None:
    game = ShopGame(0)
    for said in ("search scarf", "open 1", f"choose color {search_color(0)}", "open 2"):
        game.answer(said)
    assert game.chosen == {}
    game.answer("search xylophone")
    assert game.answer("buy").message == "invalid command ."
    assert game.answer("open 1").message == "invalid command ."


def search_color(place: int) -> str:
    return catalogue()[search(["scarf"])[place]].options["color"][0]


def test_the_tenth_turn_may_buy_and_otherwise_cuts_the_game_without_a_reward() -> None:
    for last, end in [("buy", End.TERMINAL), ("open 1", End.TRUNCATED)]:
        game = ShopGame(1)
        game.answer("search scarf")
        assert all(game.answer("open 1").end is None for _ in range(MAX_TURNS - 2))
        answer = game.answer(last)
        assert answer.end is end
        assert (answer.reward > 0) == (end is End.TERMINAL)


def test_amounts_stay_within_what_the_vocabulary_holds() -> None:
    assert max(draw_wish(seed).most_dollars for seed in range(WISHES)) <= most_dollars()
    assert all(product.price % 5 == 0 for product in catalogue())
