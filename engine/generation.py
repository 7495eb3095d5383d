"""One request between the web and the decode loop: what it asks for, what came of it so far, who hears of it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.batch import Row
from engine.errors import RequestError
from engine.replying import Ending, ReplyText


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One sampled token's log-probability, with the likeliest alternatives."""

    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """What a reply grew by: in a stream one step, else all of it."""

    text: str
    token_ids: list[int]
    logprobs: list[TokenLogprob]
    finish_reason: str | None
    stop_reason: int | str | None


Listener = Callable[[Delta | RequestError], None]


@dataclass(eq=False, slots=True, kw_only=True)
class Generation(Row):
    """A request in the engine. The decode loop alone writes to it, but for `is_abandoned`."""

    ending: Ending
    reply: ReplyText
    streams: bool
    listen: Listener
    is_abandoned: bool = False
    failure: RequestError | None = None
    arrived_at: float = field(default_factory=time.monotonic)
    first_token_at: float | None = None
    pending_ids: list[int] = field(default_factory=list)
    pending_logprobs: list[TokenLogprob] = field(default_factory=list)

    @property
    def longest(self) -> int:
        """The columns that it may come to fill."""
        return len(self.prompt_ids) + self.ending.max_tokens

    def hear(self, token: int, logprob: float | None, top: Sequence[tuple[int, float]]) -> None:
        """Take in what was drawn for it."""
        if self.first_token_at is None:
            self.first_token_at = time.monotonic()
        self.reply.add(token)
        self.pending_ids.append(token)
        if logprob is not None and self.sampler.sampling.wants_logprobs:
            self.pending_logprobs.append(TokenLogprob(logprob, tuple(top[: self.sampler.sampling.top_logprobs])))
        if self.suppressed and self.reply.token_count >= self.ending.min_tokens:
            self.suppressed = ()

    def fail(self, error: RequestError) -> None:
        """Nothing more will come; the row leaves at the next step."""
        self.failure = error
        self.is_abandoned = True

    def take_delta(self) -> Delta | RequestError | None:
        """What is to be told now: each step of a stream, the whole at the end."""
        if self.failure is not None:
            return self.failure
        if not self.streams and self.reply.finish_reason is None:
            return None
        delta = Delta(
            self.reply.release(),
            self.pending_ids,
            self.pending_logprobs,
            self.reply.finish_reason,
            self.reply.stop_reason,
        )
        self.pending_ids, self.pending_logprobs = [], []
        return delta
