"""What happens for a call, step by step: ask, wait, ask again. Whoever runs a flow does the asking and the waiting.

A flow yields a request or a pause and is sent what came of it, so that threads and event loops share every rule.
"""

import math
import random
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar, cast

import httpx

from nock_client.call import Call
from nock_client.errors import NockError, UnreachableError, from_answer
from nock_client.shapes import Run

T = TypeVar("T")

FIRST_WAIT_SECONDS, LONGEST_BACK_OFF_SECONDS = 0.5, 8.0
LONGEST_WAIT_SECONDS = 60.0
"""What asks for more patience than this (a day's budget, say) is told to the caller at once."""
LOOK_SECONDS = 0.5
OVER = ("succeeded", "skipped", "failed")

NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


Answer = httpx.Response | httpx.RequestError | None
Flow = Generator[httpx.Request | Pause, Answer, T]


BuildRequest = Callable[..., httpx.Request]
"""`build_request` of httpx' clients."""


def ask(call: Call[T], build: BuildRequest, *, retries: int, until: float = math.inf) -> Flow[T]:
    """Ask until it is answered, refused, or has been tried often enough; TimeoutError rather than wait any longer than
    `until`, by the monotonic clock."""
    attempt = 0
    while True:
        with ExitStack() as opened:
            answer = yield _request(call, build, opened)
        if isinstance(answer, httpx.Response) and answer.is_success:
            return cast(T, _content(answer))
        assert answer is not None
        seconds = wait_before(call, answer, attempt)
        if attempt == retries or seconds is None or seconds > LONGEST_WAIT_SECONDS:
            raise _failure(answer)
        if time.monotonic() + seconds > until:
            raise TimeoutError(f"No time is left to ask again: {_failure(answer)}") from _failure(answer)
        yield Pause(seconds)
        attempt += 1


def wait_before(call: Call[T], answer: httpx.Response | httpx.RequestError, attempt: int) -> float | None:
    """How long to wait before asking again; None where that would be wrong."""
    back_off = min(FIRST_WAIT_SECONDS * 2.0**attempt, LONGEST_BACK_OFF_SECONDS) * random.uniform(0.5, 1.0)
    if isinstance(answer, httpx.TransportError):
        return back_off if call.repeatable or isinstance(answer, NEVER_SENT) else None
    if isinstance(answer, httpx.RequestError):
        return None
    # 429 was refused before anything was done. 503 may come of a commit whose answer was lost.
    if answer.status_code == 429 or (answer.status_code == 503 and call.repeatable):
        asked = from_answer(answer).retry_after
        return back_off if asked is None else asked + back_off / 2
    return None


def until_over(call: Call[Run], build: BuildRequest, *, retries: int, seconds: float) -> Flow[Run]:
    """Look at a run until it has ended; TimeoutError when that takes longer."""
    deadline = time.monotonic() + seconds
    while True:
        run = yield from ask(call, build, retries=retries, until=deadline)
        if run["state"] in OVER:
            return run
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"{run['run_id']} is {run['state']} after {seconds:g} s, at {run['progress']:.0%}")
        yield Pause(min(LOOK_SECONDS, left))


def _request(call: Call[T], build: BuildRequest, opened: ExitStack) -> httpx.Request:
    if not call.files:
        return build(call.method, call.path, params=call.query or None, json=call.body, data=None, files=None)
    # Read while they are sent, and from the start again with each try.
    files = {name: (name, opened.enter_context(path.open("rb"))) for name, path in call.files.items()}
    return build(call.method, call.path, params=call.query or None, json=None, data=call.body, files=files)


def _content(answer: httpx.Response) -> object:
    try:
        return answer.json()
    except ValueError:  # a proxy's page, say
        raise from_answer(answer) from None


def _failure(answer: httpx.Response | httpx.RequestError) -> NockError:
    if isinstance(answer, httpx.Response):
        return from_answer(answer)
    if not isinstance(answer, httpx.TransportError):
        return NockError(f"The answer cannot be read: {answer or type(answer).__name__}.", code="unexpected")
    return UnreachableError(f"Nothing answers: {answer or type(answer).__name__}.", code="unreachable")
