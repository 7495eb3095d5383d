"""The counters of one version's turns, with their labels looked up once: a turn pays for counting, not for looking."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_client import Counter, Histogram

from core.storage.repositories.rollouts import Route
from service import metrics
from service.shown_versions import OTHER, SHOWN, Version

FINISH_REASONS = {"stop", "length", "tool_calls", "function_call", "content_filter", "abort", "truncated"}
"""An engine may say others; they count as `other`."""


@dataclass(frozen=True, slots=True)
class TurnFigures:
    labels: Version
    prompt_tokens: Counter
    completion_tokens: Counter
    seconds: Histogram
    gateway_seconds: Histogram
    engine_seconds: Histogram
    first_token_seconds: Histogram
    _turns: dict[str, Counter] = field(default_factory=dict)

    def turns(self, finish_reason: str) -> Counter:
        found = self._turns.get(finish_reason)
        if found is None:
            known = finish_reason if finish_reason in FINISH_REASONS else OTHER
            found = metrics.TURNS.labels(*self.labels, known)
            if known == finish_reason:  # else a faulty engine would fill the memory
                self._turns[finish_reason] = found
        return found


_found: dict[Version, TurnFigures] = {}


def figures_of(agent: str, adapter: str) -> TurnFigures:
    """Where the turns of that version are counted."""
    found = _found.get((agent, adapter))
    if found is None:
        labels = SHOWN.version(agent, adapter)
        found = TurnFigures(
            labels,
            metrics.TOKENS.labels(*labels, "prompt"),
            metrics.TOKENS.labels(*labels, "completion"),
            metrics.TURN_SECONDS.labels(*labels),
            metrics.GATEWAY_SECONDS.labels(*labels),
            metrics.ENGINE_SECONDS.labels(*labels),
            metrics.FIRST_TOKEN_SECONDS.labels(*labels),
        )
        if labels == (agent, adapter):  # pinned versions could be any number
            _found[labels] = found
    return found


def follow(routes: Iterable[Route]) -> None:
    """Show the versions that new conversations may get, and forget where others were counted."""
    routed = [
        (route.agent.name, str(adapter))
        for route in routes
        for adapter in (route.stable, route.tried, route.previous)
        if adapter is not None
    ]
    if SHOWN.follow(routed):
        _found.clear()
