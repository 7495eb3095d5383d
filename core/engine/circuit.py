"""Whether an engine that keeps failing is given requests: a rule over times that it is told, without a clock."""

FAILURES = 3
"""In a row. One is a request that no engine could answer, or bad luck; it costs a retry elsewhere."""
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0


class Circuit:
    """Closed while replies come, open after failures in a row. Then there is a trial each time that the wait is over,
    and the wait doubles with each that fails. Whatever succeeds closes it."""

    def __init__(self) -> None:
        self.opened_at: float | None = None
        self._failures = 0
        self._wait = FIRST_WAIT_SECONDS
        self._next_trial = 0.0

    @property
    def is_open(self) -> bool:
        return self.opened_at is not None

    def note_success(self) -> None:
        self.opened_at = None
        self._failures = 0

    def note_failure(self, now: float) -> None:
        """A request failed. While it is open this says nothing new: those fail that were under way."""
        self._failures += 1
        if self._failures >= FAILURES and self.opened_at is None:
            self.opened_at = now
            self._wait = FIRST_WAIT_SECONDS
            self._next_trial = now + self._wait

    def trial_is_due(self, now: float) -> bool:
        return self.opened_at is not None and now >= self._next_trial

    def note_failed_trial(self, now: float) -> None:
        self._wait = min(2 * self._wait, LONGEST_WAIT_SECONDS)
        self._next_trial = now + self._wait
