"""When the client asks again and when it does not, without a network: what a flow yields for what it is sent."""

from typing import Any

import httpx
import pytest

from nock_client import (
    ConflictError,
    InvalidError,
    LimitedError,
    NockError,
    NotFoundError,
    ServiceError,
    UnavailableError,
    UnreachableError,
    calls,
)
from nock_client.call import Call
from nock_client.flows import LONGEST_WAIT_SECONDS, Flow, Pause, ask, until_over

TOLD = calls.feedback(conversation_id="c", value=1.0)
STARTED = calls.learn("demo")
BROKEN = httpx.ReadError("broken")
NEVER_THERE = httpx.ConnectError("refused")


def answer(status: int, headers: dict[str, str] | None = None) -> httpx.Response:
    body = {"error": {"code": "why", "message": "Because.", "param": "value"}} if status >= 400 else {"ok": status}
    return httpx.Response(status, json=body, headers=headers, request=httpx.Request("GET", "http://nock/"))


def play(call: Call[Any], *answers: httpx.Response | httpx.RequestError) -> tuple[Any, list[float], list[bytes]]:
    """The result or error, the pauses before it, and the bodies that were sent."""
    with httpx.Client(base_url="http://nock") as client:
        return play_flow(ask(call, client.build_request, retries=4), *answers)


def look(*answers: httpx.Response | httpx.RequestError, seconds: float) -> tuple[Any, list[float], list[bytes]]:
    """The same of a run that is waited for."""
    with httpx.Client(base_url="http://nock") as client:
        return play_flow(until_over(calls.run("run_1"), client.build_request, retries=4, seconds=seconds), *answers)


def play_flow(flow: Flow[Any], *answers: httpx.Response | httpx.RequestError) -> tuple[Any, list[float], list[bytes]]:
    pauses, sent, came, left = [], [], None, list(answers)
    while True:
        try:
            step = flow.send(came)
        except StopIteration as ended:
            assert not left, "it stopped early"
            return ended.value, pauses, sent
        except (NockError, TimeoutError) as error:
            assert not left, "it gave up early"
            return error, pauses, sent
        if isinstance(step, Pause):
            pauses.append(step.seconds)
            came = None
        else:
            sent.append(step.read())
            came = left.pop(0)


def test_an_outcome_is_told_again_with_the_same_key_until_it_is_stored() -> None:
    result, pauses, sent = play(TOLD, BROKEN, answer(503), NEVER_THERE, answer(201))
    assert result == {"ok": 201}
    assert len(pauses) == 3
    assert len(set(sent)) == 1
    assert b'"idempotency_key":"nock_client-' in sent[0]


def test_two_outcomes_have_two_keys() -> None:
    assert calls.feedback(turn_id="t", value=1).body != calls.feedback(turn_id="t", value=1).body
    (first, second, own) = calls.feedback_batch(
        [{"value": 1}, {"value": 1}, {"value": 1, "idempotency_key": "mine"}]
    ).body["entries"]
    assert first["idempotency_key"] != second["idempotency_key"]
    assert own["idempotency_key"] == "mine"


@pytest.mark.parametrize(("status", "kind"), [(404, NotFoundError), (409, ConflictError), (422, InvalidError)])
def test_a_refusal_is_told_at_once_in_the_gateways_words(status: int, kind: type[NockError]) -> None:
    error, pauses, _ = play(TOLD, answer(status))
    assert type(error) is kind
    assert (error.status, error.code, error.message, error.param) == (status, "why", "Because.", "value")
    assert pauses == []


@pytest.mark.parametrize("status", [500, 502, 504])
def test_what_failed_inside_is_not_asked_again(status: int) -> None:
    error, pauses, _ = play(TOLD, answer(status))
    assert (type(error), pauses) == (ServiceError, [])


def test_what_would_count_twice_is_asked_again_only_where_it_cannot_have_arrived() -> None:
    assert isinstance(play(STARTED, BROKEN)[0], UnreachableError)
    assert isinstance(play(STARTED, answer(503))[0], UnavailableError)
    assert play(STARTED, NEVER_THERE, answer(429), answer(202))[0] == {"ok": 202}


def test_a_limit_is_waited_out_as_long_as_it_says() -> None:
    result, pauses, _ = play(TOLD, answer(429, {"Retry-After": "7"}), answer(201))
    assert result == {"ok": 201}
    assert 7 <= pauses[0] <= 8


def test_a_limit_that_asks_for_too_much_patience_is_told() -> None:
    error, pauses, _ = play(TOLD, answer(429, {"Retry-After": str(LONGEST_WAIT_SECONDS + 1)}))
    assert isinstance(error, LimitedError)
    assert (error.retry_after, pauses) == (LONGEST_WAIT_SECONDS + 1, [])


def test_waits_grow_and_differ_and_end() -> None:
    error, pauses, sent = play(TOLD, *[BROKEN] * 5)
    assert isinstance(error, UnreachableError)
    assert len(sent) == 5
    assert all(0.25 * 2**place <= seconds <= 0.5 * 2**place for place, seconds in enumerate(pauses))
    assert pauses != play(TOLD, *[BROKEN] * 5)[1]


def test_a_proxys_page_is_quoted_and_its_date_ignored() -> None:
    page = httpx.Response(
        503,
        text="<h1>Bad gateway</h1>",
        headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"},
        request=httpx.Request("GET", "http://nock/x"),
    )
    error, pauses, _ = play(STARTED, page)
    assert (error.code, error.retry_after, pauses) == ("unexpected", None, [])
    assert "Bad gateway" in error.message


def test_a_success_that_is_no_json_is_told_as_what_it_is() -> None:
    page = httpx.Response(200, text="<h1>Log in</h1>", request=httpx.Request("GET", "http://nock/x"))
    error, pauses, _ = play(TOLD, page)
    assert isinstance(error, NockError)
    assert (error.status, error.code, pauses) == (200, "unexpected", [])
    assert "Log in" in error.message


def test_an_answer_that_cannot_be_unpacked_is_told_and_not_asked_for_again() -> None:
    error, pauses, _ = play(TOLD, httpx.DecodingError("Error -3 while decompressing data"))
    assert type(error) is NockError
    assert (error.status, error.code, pauses) == (None, "unexpected", [])
    assert "decompressing" in error.message


def test_waiting_for_a_run_goes_on_no_longer_than_it_may_though_asked_to_come_back_later() -> None:
    error, pauses, _ = look(answer(429, {"Retry-After": "30"}), seconds=5)
    assert isinstance(error, TimeoutError)
    assert isinstance(error.__cause__, LimitedError)
    assert pauses == []


def test_the_pause_before_the_last_look_at_a_run_ends_with_the_time() -> None:
    running = {"run_id": "run_1", "state": "running", "progress": 0.5}
    _, pauses, _ = look(told(running), told(running | {"state": "succeeded"}), seconds=0.2)
    assert pauses[0] <= 0.2


def told(body: object) -> httpx.Response:
    return httpx.Response(200, json=body, request=httpx.Request("GET", "http://nock/"))


def test_an_id_of_any_script_is_one_part_of_the_path() -> None:
    assert calls.conversation("a/b ü?").path == "/conversations/a%2Fb%20%C3%BC%3F"
