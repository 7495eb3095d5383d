"""What a run writes down about itself, and whether its critic is worth keeping."""

import math

import pytest

from tests.fixtures.tiny_model import byte_tokenizer
from tests.fixtures.transitions import dialogue
from worker.archer.dialogues import is_held_out
from worker.training import as_json, generation_prompt_of, outcomes_differ, user_prompt_of


def test_numbers_that_json_has_no_word_for_become_none() -> None:
    figures = {"loss": math.nan, "ratio": {"max": math.inf, "mean": 1.5}, "turns": 3, "reason": None, "ok": True}
    assert as_json(figures) == {
        "loss": None,
        "ratio": {"max": None, "mean": 1.5},
        "turns": 3,
        "reason": None,
        "ok": True,
    }


@pytest.mark.parametrize(
    ("rewards", "differ"),
    [
        ([(0.0, 1.0), (0.0, 0.0)], True),
        ([(0.0, 1.0), (1.0, 0.0)], True),  # when it was paid says something too
        ([(0.0, 1.0), (0.0, 0.0, 1.0)], False),  # one took longer: its returns differ by discount alone
        ([(1.0,), (1.0,)], False),
        ([(0.0,), (1.0,)], True),
        ([(0.0, 0.5, 0.5)], True),
        ([(0.0, 1.0)], False),
        ([], False),
    ],
)
def test_outcomes_differ_by_what_was_earned_and_where_never_by_discount(
    rewards: list[tuple[float, ...]], differ: bool
) -> None:
    turns = [turn for number, earned in enumerate(rewards) for turn in dialogue(f"episode {number}", earned)]
    assert outcomes_differ(turns, held_out_share=0.0) is differ


def test_outcomes_that_only_held_out_episodes_had_are_none_that_the_critic_learned_from() -> None:
    held_out = next(name for name in map(str, range(100)) if is_held_out(name, 0.5))
    learned = [name for name in map(str, range(100)) if not is_held_out(name, 0.5)]
    turns = [*dialogue(held_out, (1.0,)), *dialogue(learned[0], (0.0,)), *dialogue(learned[1], (0.0,))]
    assert not outcomes_differ(turns, held_out_share=0.5)
    assert outcomes_differ(turns, held_out_share=0.0)


def test_how_a_reply_begins_and_what_stands_before_its_answer_is_what_the_chat_template_says() -> None:
    tokenizer = byte_tokenizer()
    assert tokenizer.decode(generation_prompt_of(tokenizer)) == "<|im_start|>assistant\n"
    assert tokenizer.decode(user_prompt_of(tokenizer)) == "<|im_end|>\n<|im_start|>user\n"
    tokenizer.chat_template = None
    assert generation_prompt_of(tokenizer) == ()
    assert user_prompt_of(tokenizer) == ()
