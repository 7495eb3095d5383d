"""Chat messages to prompt tokens, by the model's own template; knows no batch."""

import inspect
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from engine.errors import RequestError
from engine.model import LanguageModel

PART_OF_CHARACTER = "\N{REPLACEMENT CHARACTER}"


def render_prompt(
    model: LanguageModel,
    messages: Sequence[dict[str, Any]],
    tools: Sequence[dict[str, Any]] | None,
    *,
    add_generation_prompt: bool,
    continue_final_message: bool,
    template_kwargs: dict[str, Any],
) -> list[int]:
    """The prompt's token ids, checked against the context. Most templates show the tools, small models' do not."""
    own = inspect.signature(model.tokenizer.apply_chat_template).parameters
    if taken := sorted(name for name in template_kwargs if name in own and name != "kwargs"):
        # They are for the template; these would reach the tokenizer: another template, padding without end.
        raise RequestError(f"chat_template_kwargs must not hold {taken[0]}.", param="chat_template_kwargs")
    try:
        token_ids: Any = model.tokenizer.apply_chat_template(
            list(messages),
            tools=list(tools) if tools else None,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            tokenize=True,
            return_dict=False,
            **template_kwargs,
        )
    except (TemplateError, ValueError, TypeError) as error:
        raise RequestError(f"The model's chat template refuses these messages: {error}", param="messages") from error
    if not token_ids:
        raise RequestError("The model's chat template makes an empty prompt of these messages.", param="messages")
    if len(token_ids) >= model.max_model_len:
        raise RequestError(
            f"This model's maximum context length is {model.max_model_len} tokens. However, your prompt contains "
            f"{len(token_ids)} input tokens, which leaves no room for a reply. "
            "Please reduce the length of the input prompt.",
            param="input_tokens",
        )
    return list(token_ids)


class TokenNames:
    """The text of single tokens, for log-probs."""

    def __init__(self, model: LanguageModel) -> None:
        self._tokenizer = model.tokenizer
        self._alone: dict[int, str] = {}

    def name(self, token_id: int, context: Sequence[int]) -> str:
        """A token's text. The token that completes a character carries all of it; those before it carry nothing."""
        text = self._decode_alone(token_id)
        if not text.endswith(PART_OF_CHARACTER):
            return text
        parts = [token_id]
        for earlier in reversed(context):
            if not self._decode_alone(earlier).endswith(PART_OF_CHARACTER):
                break
            parts.insert(0, earlier)
            text = self._decode(parts)
            if not text.endswith(PART_OF_CHARACTER):
                return text
        return ""

    def _decode_alone(self, token_id: int) -> str:
        if token_id not in self._alone:
            self._alone[token_id] = self._decode([token_id])
        return self._alone[token_id]

    def _decode(self, token_ids: list[int]) -> str:
        text = self._tokenizer.decode(token_ids, skip_special_tokens=False)
        return text if isinstance(text, str) else "".join(text)
