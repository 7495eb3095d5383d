"""Turns sampled token ids into text, piece by piece, and finds where a reply ends; knows no model and no batch."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream


@dataclass(frozen=True, slots=True)
class Ending:
    """Where one request wants its reply to end."""

    max_tokens: int
    min_tokens: int = 0
    eos_token_id: int | None = None
    stop_token_ids: frozenset[int] = frozenset()
    stop_strings: tuple[str, ...] = ()
    include_stop_string: bool = False


class ReplyText:
    """The text of one reply, whole characters only; a stop string is never let out, not even its beginning."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt_ids: Sequence[int],
        ending: Ending,
        *,
        skip_special_tokens: bool = True,
    ) -> None:
        self._tokenizer = tokenizer
        self._ending = ending
        self._skip_special_tokens = skip_special_tokens
        # The prompt's last ids tell the decoder whether a first space belongs to the reply; all of them cost too much.
        self._stream = DecodeStream(ids=list(prompt_ids[-32:]), skip_special_tokens=skip_special_tokens)
        self._released = 0
        longest = max((len(s) for s in ending.stop_strings), default=1)
        self._held_back = 0 if ending.include_stop_string else longest - 1
        self.text = ""
        self.token_count = 0
        self.finish_reason: str | None = None
        self.stop_reason: int | str | None = None

    def add(self, token: int) -> None:
        """Take the next token in; sets `finish_reason` when it ends the reply."""
        self.token_count += 1
        stopped_by_token = self._check_token(token)
        if stopped_by_token and not self._ending.include_stop_string:
            return
        before = len(self.text)
        self.text += self._decode(token)
        if self._ending.stop_strings and self.token_count > self._ending.min_tokens:
            self._check_stop_strings(before)

    def release(self) -> str:
        """The text that has not been released and can no longer turn out to be part of a stop string."""
        end = len(self.text) - (0 if self.finish_reason else self._held_back)
        if end <= self._released:
            return ""
        piece = self.text[self._released : end]
        self._released = end
        return piece

    def _check_token(self, token: int) -> bool:
        if token == self._ending.eos_token_id:
            self.finish_reason = "stop"
            return True
        if token in self._ending.stop_token_ids:
            self.finish_reason, self.stop_reason = "stop", token
            return True
        if self.token_count >= self._ending.max_tokens:
            self.finish_reason = "length"
        return False

    def _decode(self, token: int) -> str:
        try:
            return self._stream.step(self._tokenizer, token) or ""
        except Exception as error:
            # tokenizers gives up on byte sequences that stay invalid as they grow; a fresh stream goes on after them.
            if "Invalid prefix" not in str(error):
                raise
            self._stream = DecodeStream(skip_special_tokens=self._skip_special_tokens)
            return self._stream.step(self._tokenizer, token) or ""

    def _check_stop_strings(self, before: int) -> None:
        found: tuple[int, int, str] | None = None
        for stop in self._ending.stop_strings:
            start = self.text.find(stop, max(0, before - len(stop) + 1))
            if start >= 0 and (found is None or start + len(stop) < found[0]):
                found = (start + len(stop), start, stop)
        if found is None:
            return
        end, start, stop = found
        self.text = self.text[: end if self._ending.include_stop_string else start]
        self.finish_reason, self.stop_reason = "stop", stop
