"""The requests this engine takes, in vLLM's field names, and a refusal of each that it would have to ignore."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from engine.errors import RequestError

MAX_LOGPROBS = 20
INT64 = 2**63

# Fields whose meaning would be lost, with the values that ask for nothing.
HARMLESS: dict[str, tuple[Any, ...]] = {
    "tool_choice": (None, "none", "auto"),
    "functions": (None, []),
    "function_call": (None, "none", "auto"),
    "response_format": (None, {"type": "text"}),
    "structured_outputs": (None,),
    "logit_bias": (None, {}),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "repetition_penalty": (None, 1),
    "length_penalty": (None, 1),
    "min_p": (None, 0),
    "n": (None, 1),
    "best_of": (None, 1),
    "use_beam_search": (None, False),
    "bad_words": (None, []),
    "allowed_token_ids": (None, []),
    "prompt_logprobs": (None,),
    "logprob_token_ids": (None, []),
    "echo": (None, False),
    "truncate_prompt_tokens": (None,),
    "documents": (None, []),
    "chat_template": (None,),
    "thinking_token_budget": (None,),
    "repetition_detection": (None,),
    "watermarking": (None, False),
    "priority": (None, 0),
    "stream_interval": (None, 1),
    "kv_transfer_params": (None,),
    "ec_transfer_params": (None,),
    "audio": (None,),
    "modalities": (None, ["text"]),
}


def none_is(default: Any) -> BeforeValidator:
    """OpenAI's clients send null for what they leave out."""
    return BeforeValidator(lambda value: default if value is None else value)


class StreamOptions(BaseModel):
    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class ChatCompletionRequest(BaseModel):
    """`POST /v1/chat/completions`; other harmless fields are ignored, as vLLM does."""

    model_config = ConfigDict(extra="allow")

    messages: list[dict[str, Any]] = Field(min_length=1)
    model: str | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1)
    seed: int | None = Field(None, ge=-INT64, lt=INT64)
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool = False
    ignore_eos: Annotated[bool, none_is(False)] = False
    min_tokens: Annotated[int, none_is(0)] = Field(0, ge=0)
    skip_special_tokens: bool = True
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    logprobs: bool | None = False
    top_logprobs: Annotated[int, none_is(0)] = Field(0, ge=-1)
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    chat_template_kwargs: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None

    def check(self) -> None:
        """Refuse what cannot be done and what contradicts itself."""
        extra = self.model_extra or {}
        for name, values in HARMLESS.items():
            if name in extra and extra[name] not in values:
                raise RequestError(
                    f"This engine does not support `{name}`={str(extra[name])[:80]}: leave it out, or serve with vLLM.",
                    param=name,
                )
        self._check_tools(extra.get("tool_choice"))
        if self.stream_options and not self.stream:
            raise RequestError("Stream options can only be defined when `stream=True`.", param="stream_options")
        if self.top_logprobs and not self.logprobs:
            raise RequestError("when using `top_logprobs`, `logprobs` must be set to true.", param="top_logprobs")
        if not -1 < self.top_logprobs <= MAX_LOGPROBS:
            raise RequestError(
                f"Requested sample logprobs of {self.top_logprobs}, which is greater than max allowed: {MAX_LOGPROBS}",
                param="logprobs",
            )
        if "" in self.stop_strings:
            raise RequestError("stop cannot contain an empty string.", param="stop")
        if self.continue_final_message and self.add_generation_prompt:
            raise RequestError("Cannot set both `continue_final_message` and `add_generation_prompt` to True.")

    def _check_tools(self, choice: Any) -> None:
        # vLLM too refuses a choice that it was given no parser for; with "none" it shows the tools and reads text.
        if self.tools is not None and (not self.tools or choice != "none"):
            raise RequestError(
                'This engine reads no calls of `tools` out of a reply: say `tool_choice`: "none", or serve with vLLM.',
                param="tools",
            )
        if self.tools is None and choice == "auto":
            raise RequestError("When using `tool_choice`, `tools` must be set.", param="tool_choice")

    @property
    def stop_strings(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def wanted_tokens(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class LoadLoraAdapterRequest(BaseModel):
    """`POST /v1/load_lora_adapter`"""

    lora_name: str
    lora_path: str
    load_inplace: bool = False


class UnloadLoraAdapterRequest(BaseModel):
    """`POST /v1/unload_lora_adapter`"""

    lora_name: str
    lora_int_id: int | None = None


def plain_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages as templates know them: text parts joined by line ends, as vLLM joins them."""
    return [plain_message(message, f"messages.{index}") for index, message in enumerate(messages)]


def plain_message(message: dict[str, Any], where: str) -> dict[str, Any]:
    if not isinstance(message.get("role"), str):
        raise RequestError(f"{where}.role must be a string.", param=f"{where}.role")
    for field in ("tool_calls", "function_call", "audio"):
        if message.get(field):
            raise RequestError(f"This engine does not support {where}.{field}: serve with vLLM.", param=where)
    return {**message, "content": plain_content(message.get("content"), f"{where}.content")}


def plain_content(content: Any, where: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise RequestError(f"{where} must be a string or a list of text parts.", param=where)
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and part.get("type", "text") == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise RequestError(f"{where} has a part of type {kind}; this engine takes text parts only.", param=where)
    return "\n".join(texts)
