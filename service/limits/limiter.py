"""Let requests in as far as their key's and their end user's limits allow, and count what they took."""

from collections.abc import Sequence
from typing import Literal

from core.domain.errors import InvalidValueError, LimitReachedError, LimitsUnavailableError
from core.domain.ids import new_id
from core.domain.keys import Key
from core.domain.signatures import Signer
from core.storage.models import Agent
from service import metrics
from service.limits.admission import UNCOUNTED, Admission
from service.limits.counting import Counting, CountingUnavailableError, Reading, UnansweredError
from service.limits.headers import headers_of
from service.limits.meters import Kind, Meter, of_outcomes, of_turn
from service.limits.settling import Settling
from service.shown_versions import SHOWN

SENTENCES = {
    Kind.REQUESTS: "{limit} requests a minute are allowed for this {whose}.",
    Kind.TOKENS: "{limit} tokens a minute are allowed for this {whose}.",
    Kind.PLACES: "{limit} requests at once are allowed for this {whose}, and as many are under way.",
    Kind.BUDGET: "This {whose} has used up its {limit} tokens of today (UTC).",
}
WHOSE = {"key": "API key", "user": "end user"}
LEASE_MARGIN_SECONDS = 60.0
"""Beyond the longest reply: only a gateway that died holds a place for so long."""


class Limiter:
    def __init__(
        self,
        counting: Counting,
        signer: Signer,
        *,
        without_redis: Literal["open", "closed"],
        longest_seconds: float,
    ) -> None:
        """`longest_seconds`: how long one turn may take at most."""
        self._counting = counting
        self._settling = Settling(counting)
        self._signer = signer
        self._is_open = without_redis == "open"
        self._longest_seconds = longest_seconds + LEASE_MARGIN_SECONDS

    async def admit(self, key: Key, agent: Agent, end_user: str | None) -> Admission:
        """Let one turn in; it must be settled. LimitReachedError, or LimitsUnavailableError where Redis is away."""
        meters = of_turn(key, agent, end_user, self._signer)
        if not meters:
            return UNCOUNTED
        return await self._admit(meters, agent.name, requests=1)

    async def admit_outcomes(self, key: Key, count: int) -> None:
        """Let outcomes in; the same errors, and InvalidValueError for a batch that no wait would let in."""
        meters = of_outcomes(key)
        for meter in meters:
            if count > meter.limit:
                raise InvalidValueError(
                    f"{count} outcomes at once are more than the {meter.limit} a minute of this key.",
                    code="batch_over_limit",
                )
        if meters and count:
            await self._admit(meters, "", requests=count)

    async def close(self) -> None:
        await self._settling.close()
        await self._counting.close()

    async def _admit(self, meters: Sequence[Meter], agent: str, *, requests: int) -> Admission:
        request = new_id().hex
        try:
            readings = await self._counting.admit(
                meters, request, requests=requests, longest_seconds=self._longest_seconds
            )
        except CountingUnavailableError as error:
            metrics.LIMITS_UNAVAILABLE.inc()
            if isinstance(error, UnansweredError):
                self._settling.give_back(meters, request)
            if not self._is_open:
                raise LimitsUnavailableError("The limits of this key cannot be counted now.") from error
            return Admission(self._settling, meters, request, {})
        short = [reading for reading in readings if reading.is_short]
        if short:
            raise _refusal(agent, readings, max(short, key=lambda reading: reading.room_in))
        return Admission(self._settling, meters, request, headers_of(readings, counted=requests))


def _refusal(agent: str, readings: Sequence[Reading], tightest: Reading) -> LimitReachedError:
    meter = tightest.meter
    metrics.LIMITED_REQUESTS.labels(SHOWN.agent(agent), f"{meter.whose}_{meter.field}").inc()
    return LimitReachedError(
        SENTENCES[meter.kind].format(limit=meter.limit, whose=WHOSE[meter.whose]),
        code="insufficient_quota" if meter.kind is Kind.BUDGET else None,
        of="tokens" if meter.kind in (Kind.TOKENS, Kind.BUDGET) else "requests",
        wait_seconds=tightest.room_in,
        headers=headers_of(readings, counted=0),
    )
