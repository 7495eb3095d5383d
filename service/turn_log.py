"""The turns of one moment are found, opened and written together: what a gateway process holds for that."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from core.storage.turn_log.connections import Connections, open_connections
from core.storage.turn_log.finding import Finding, Sought, find
from core.storage.turn_log.opening import Opening, open_all
from core.storage.turn_log.writing import Finished, write_all
from service.gathering import Gathering


@dataclass(frozen=True, slots=True)
class TurnLog:
    finding: Gathering[Sought, Finding]
    opening: Gathering[Opening, bool]
    writing: Gathering[Finished, bool]
    pools: Mapping[str, Connections]


@asynccontextmanager
async def open_turn_log(address: str) -> AsyncIterator[TurnLog]:
    """With as many connections as its gatherings have writers."""
    async with (
        open_connections(address, durable=False) as swift,
        open_connections(address, durable=True) as durable,
    ):
        log = TurnLog(
            finding=Gathering("finding", partial(find, swift)),
            opening=Gathering("opening", partial(open_all, swift)),
            writing=Gathering("writing", partial(write_all, durable)),
            pools={"swift": swift, "durable": durable},
        )
        yield log
        for gathering in (log.finding, log.opening, log.writing):
            await gathering.finish()  # a turn, too, whose client hung up in the middle of its commit
