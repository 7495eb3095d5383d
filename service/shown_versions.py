"""Which agents and versions have series of their own, so that a year of versions does not become a year of series.

Each process decides by the routing alone, and so all of them alike.
"""

import time
from collections.abc import Iterable, Mapping

MOST_AGENTS = 50
MOST_VERSIONS = 100
KEPT_SECONDS = 3_600.0
"""How long a version is still shown after it left the routing: conversations end on it, and Prometheus has to see
the last that was counted."""

OTHER = "other"
"""The label of all that have no series of their own."""

Version = tuple[str, str]
"""Agent and adapter, as they are written."""


class ShownVersions:
    def __init__(self) -> None:
        self._seen: dict[Version, float] = {}
        self._agents: frozenset[str] = frozenset()
        self._versions: frozenset[Version] = frozenset()

    def follow(self, routed: Iterable[Version], now: float | None = None) -> bool:
        """Show the versions that are routed to, and those that were a while ago. Whether anything has changed."""
        now = time.monotonic() if now is None else now
        before = self._versions
        routed = list(routed)
        seen = {version: at for version, at in self._seen.items() if now - at <= KEPT_SECONDS}
        latest_first = sorted(seen, key=lambda version: -seen[version])
        candidates = dict.fromkeys([*routed, *latest_first])
        self._seen = seen | dict.fromkeys(routed, now)
        self._agents = frozenset(list(dict.fromkeys(agent for agent, _ in candidates))[:MOST_AGENTS])
        self._versions = frozenset([one for one in candidates if one[0] in self._agents][:MOST_VERSIONS])
        return self._versions != before

    def agent(self, agent: str) -> str:
        return agent if agent in self._agents else OTHER

    def version(self, agent: str, adapter: str) -> Version:
        """The labels to count under."""
        if (agent, adapter) in self._versions:
            return agent, adapter
        return self.agent(agent), OTHER

    def shows(self, labels: Mapping[str, str]) -> bool:
        """Whether a series with these labels is told."""
        adapter = labels.get("adapter", OTHER)
        if adapter != OTHER:
            return (labels.get("agent", OTHER), adapter) in self._versions
        return labels.get("agent", OTHER) in self._agents or labels.get("agent", OTHER) == OTHER


SHOWN = ShownVersions()
"""Of this process, as its counters are."""
