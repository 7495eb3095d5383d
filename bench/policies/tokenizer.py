"""A tokenizer of whole words with a chat template: one token a word, one a mark of who speaks."""

from collections.abc import Sequence

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, USER, AGENT, END = "<pad>", "<unknown>", "<user>", "<agent>", "<end>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}<agent>{{ message['content'] }}<end>"
    "{% else %}<user>{{ message['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}<agent>{% endif %}"
)


def word_tokenizer(vocabulary: Sequence[str], context: int) -> PreTrainedTokenizerFast:
    """Text that is words with one space between them comes back as it was."""
    marks = [PAD, UNKNOWN, USER, AGENT, END]
    tokens = {token: place for place, token in enumerate([*marks, *vocabulary])}
    tokenizer = Tokenizer(models.WordLevel(vocab=tokens, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(mark, normalized=False, special=True) for mark in marks])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call] # untyped in transformers
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        chat_template=CHAT_TEMPLATE,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
