"""The builders' rows look like the tiny model's own."""

from tests.fixtures.builders import rendered_ids, reply_ids
from tests.fixtures.tiny_model import byte_tokenizer

MESSAGES = [
    {"role": "user", "content": "Grüße, what is 2 + 2?\nSay it."},
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": "Thanks"},
]


def test_built_tokens_are_those_of_the_tiny_models_tokenizer() -> None:
    tokenizer = byte_tokenizer()
    text = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    assert rendered_ids(MESSAGES) == tokenizer.encode(text, add_special_tokens=False)
    assert reply_ids("ja, 4!") == tokenizer.encode("ja, 4!<|im_end|>", add_special_tokens=False)
