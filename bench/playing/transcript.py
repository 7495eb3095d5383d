"""What a chat template puts around messages, so that a conversation grows without being rendered again."""

from functools import lru_cache

from transformers import PreTrainedTokenizerBase

PLACEHOLDER = "\x00reply\x00"


class Transcript:
    """One chat template, taken apart: `opening` and `after_reply` give the tokens around an utterance."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.opening = lru_cache(maxsize=4096)(self._opening)
        self.after_reply = lru_cache(maxsize=4096)(self._after_reply)

    def _opening(self, message: str) -> tuple[int, ...]:
        return self.ids(self._render([{"role": "user", "content": message}]))

    def _after_reply(self, message: str) -> tuple[int, ...]:
        """From the end of a reply to where the next one begins."""
        told = [("user", "-"), ("assistant", PLACEHOLDER), ("user", message)]
        text = self._render([{"role": role, "content": content} for role, content in told])
        return self.ids(text.split(PLACEHOLDER)[1])

    def _render(self, messages: list[dict[str, str]]) -> str:
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def ids(self, text: str) -> tuple[int, ...]:
        """A text as tokens, with nothing around it."""
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])
