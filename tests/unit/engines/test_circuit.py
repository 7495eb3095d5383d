"""The circuit of an engine: when it opens, when it is tried, what closes it."""

from core.engine.circuit import FAILURES, FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS, Circuit


def opened(now: float = 0.0) -> Circuit:
    circuit = Circuit()
    for _ in range(FAILURES):
        circuit.note_failure(now)
    return circuit


def test_failures_in_a_row_open_it_and_one_success_between_them_does_not() -> None:
    circuit = Circuit()
    for _ in range(FAILURES - 1):
        circuit.note_failure(0.0)
    circuit.note_success()
    for _ in range(FAILURES - 1):
        circuit.note_failure(0.0)
    assert not circuit.is_open
    circuit.note_failure(7.0)
    assert circuit.is_open
    assert circuit.opened_at == 7.0


def test_it_is_tried_when_the_wait_is_over_and_not_before() -> None:
    circuit = opened(now=10.0)
    assert not circuit.trial_is_due(10.0 + FIRST_WAIT_SECONDS - 0.01)
    assert circuit.trial_is_due(10.0 + FIRST_WAIT_SECONDS)
    assert not Circuit().trial_is_due(1e9), "a closed one needs no trial"


def test_each_failed_trial_doubles_the_wait_up_to_the_longest() -> None:
    circuit, now, waits = opened(), FIRST_WAIT_SECONDS, []
    for _ in range(8):
        circuit.note_failed_trial(now)
        before = now
        while not circuit.trial_is_due(now):
            now += 0.25
        waits.append(now - before)
    assert waits[:3] == [2 * FIRST_WAIT_SECONDS, 4 * FIRST_WAIT_SECONDS, 8 * FIRST_WAIT_SECONDS]
    assert waits[-1] == LONGEST_WAIT_SECONDS


def test_requests_that_were_under_way_when_it_opened_put_no_trial_off() -> None:
    circuit = opened(now=0.0)
    for late in (0.2, 0.5, 0.9):
        circuit.note_failure(late)
    assert circuit.opened_at == 0.0
    assert circuit.trial_is_due(FIRST_WAIT_SECONDS)


def test_a_success_closes_it_and_the_next_failures_begin_with_the_first_wait() -> None:
    circuit = opened()
    circuit.note_failed_trial(1.0)
    circuit.note_failed_trial(3.0)
    circuit.note_success()
    assert not circuit.is_open
    for _ in range(FAILURES):
        circuit.note_failure(100.0)
    assert circuit.trial_is_due(100.0 + FIRST_WAIT_SECONDS)
