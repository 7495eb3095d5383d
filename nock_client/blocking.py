"""`Nock`: the calls for programs with threads. It sends and sleeps; what to send stands in `calls`."""

import time
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Concatenate, ParamSpec, Self, TypeVar

import httpx

from nock_client import calls
from nock_client.call import Call, next_page
from nock_client.flows import Answer, Flow, Pause, ask, until_over
from nock_client.shapes import Page, Run

P = ParamSpec("P")
T = TypeVar("T")


def _sending(describe: Callable[P, Call[T]]) -> Callable[Concatenate["Nock", P], T]:
    @wraps(describe)
    def send(nock: "Nock", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return nock.send(describe(*args, **kwargs))

    return send


class Nock:
    """A gateway and a key. Threads may share one; leaving its `with` closes the connections.

    `timeout` is in seconds for each try; `retries` is how often a call is tried again after its first failure, where
    that is safe.
    """

    def __init__(self, base_url: str, api_key: str, *, timeout: float = 60.0, retries: int = 4) -> None:
        headers = {"Authorization": f"Bearer {api_key}"}
        self._http = httpx.Client(base_url=base_url, headers=headers, timeout=timeout)
        self._retries = retries

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; to close a conversation is `close_conversation`."""
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """What the gateway answers; NockError if it refuses."""
        return self._run(ask(call, self._http.build_request, retries=self._retries))

    def every(self, call: Call[Page[T]]) -> Iterator[T]:
        """The entries of a list, page after page: `nock.every(calls.runs("demo"))`."""
        rest: Call[Page[T]] | None = call
        while rest is not None:
            page = self.send(rest)
            yield from page["data"]
            rest = next_page(rest, page)

    def wait_for_run(self, run_id: str, *, seconds: float = 3600.0) -> Run:
        """The run once it has ended, well or not; TimeoutError when that takes longer."""
        call = calls.run(run_id)
        return self._run(until_over(call, self._http.build_request, retries=self._retries, seconds=seconds))

    def _run(self, flow: Flow[T]) -> T:
        answer: Answer = None
        while True:
            try:
                step = flow.send(answer)
            except StopIteration as ended:
                result: T = ended.value
                return result
            answer = self._take(step)

    def _take(self, step: httpx.Request | Pause) -> Answer:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        try:
            return self._http.send(step)
        except httpx.RequestError as error:
            return error

    feedback = _sending(calls.feedback)
    feedback_batch = _sending(calls.feedback_batch)
    retract = _sending(calls.retract)
    dead_letters = _sending(calls.dead_letters)
    retry_dead_letter = _sending(calls.retry_dead_letter)

    models = _sending(calls.models)
    model = _sending(calls.model)
    conversation = _sending(calls.conversation)
    close_conversation = _sending(calls.close_conversation)

    delete_conversation = _sending(calls.delete_conversation)
    delete_user = _sending(calls.delete_user)
    erasures = _sending(calls.erasures)
    erasure = _sending(calls.erasure)

    agents = _sending(calls.agents)
    agent = _sending(calls.agent)
    create_agent = _sending(calls.create_agent)
    change_agent = _sending(calls.change_agent)

    learn = _sending(calls.learn)
    runs = _sending(calls.runs)
    run = _sending(calls.run)

    adapters = _sending(calls.adapters)
    adapter = _sending(calls.adapter)
    lineage = _sending(calls.lineage)
    import_adapter = _sending(calls.import_adapter)
    run_suite = _sending(calls.run_suite)
    promote = _sending(calls.promote)
    canary = _sending(calls.canary)
    reject = _sending(calls.reject)

    rollout = _sending(calls.rollout)
    rollout_events = _sending(calls.rollout_events)
    canaries = _sending(calls.canaries)
    rollback = _sending(calls.rollback)

    keys = _sending(calls.keys)
    create_key = _sending(calls.create_key)
    change_key = _sending(calls.change_key)
    rotate_key = _sending(calls.rotate_key)
    revoke_key = _sending(calls.revoke_key)

    audit = _sending(calls.audit)
