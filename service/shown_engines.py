"""Which engines have series of their own: those that are there now, or one that is gone would look down for ever.

Several processes cannot take a series back that one of them began, so whoever tells leaves out what it does not know.
"""

from collections.abc import Iterable, Mapping


class ShownEngines:
    def __init__(self) -> None:
        self._addresses: frozenset[str] = frozenset()

    def follow(self, addresses: Iterable[str]) -> None:
        self._addresses = frozenset(addresses)

    def shows(self, labels: Mapping[str, str]) -> bool:
        """Whether a series with these labels is told."""
        return "engine" not in labels or labels["engine"] in self._addresses


SHOWN_ENGINES = ShownEngines()
"""Of this process, as its engines are."""
