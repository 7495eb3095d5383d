"""The turns of one moment are found, opened and written together: what a gateway process holds for that."""

from dataclasses import dataclass
from functools import partial

from core.storage.turn_log.connections import Connections
from core.storage.turn_log.finding import Finding, Sought, find
from core.storage.turn_log.opening import Opening, open_all
from core.storage.turn_log.writing import Finished, write_all
from service.gathering import WRITERS, Gathering

CONNECTIONS = 3 * WRITERS
"""What a process needs, so that no gathering waits for another's connection."""


@dataclass(frozen=True, slots=True)
class TurnLog:
    finding: Gathering[Sought, Finding]
    opening: Gathering[Opening, bool]
    writing: Gathering[Finished, bool]

    @classmethod
    def over(cls, connections: Connections) -> "TurnLog":
        return cls(
            Gathering(partial(find, connections)),
            Gathering(partial(open_all, connections)),
            Gathering(partial(write_all, connections)),
        )
