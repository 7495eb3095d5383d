"""What is heard as a refusal, and what only sounds like one."""

import pytest

from core.domain.refusals import is_refusal


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I can’t assist with this request.",
        "Sorry! I cannot provide medical advice.",
        "I am unable to help with hacking.",
        "I'm not able to discuss that topic.",
        "As an AI language model, I cannot have opinions.",
        "I must decline.",
        "That goes against my guidelines.",
        "Unfortunately,\nwe   will not share other customers' data.",
        "I refuse to do so.",
        "I'm not allowed to say.",
    ],
)
def test_a_reply_that_will_not_do_it_is_a_refusal(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I'm sorry that your parcel is late. It will be there tomorrow.",
        "I can't find an order with that number: which one is it?",
        "Of course I can help with that!",
        "You can't return it after 30 days.",
        "The weather will not help you.",
        "Here is the story you asked for. " + "It was long ago. " * 20 + "I can't help with that, said the king.",
    ],
)
def test_an_apology_or_bad_news_is_none(text: str) -> None:
    assert not is_refusal(text)
