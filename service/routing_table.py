"""Which version new episodes of each agent get, and which engines hold it, in memory: the hot swap is one re-read."""

import asyncio
from collections.abc import Callable, Mapping

import structlog
from psycopg import AsyncConnection, Error
from sqlalchemy.exc import SQLAlchemyError

from core.domain.adapters import AdapterName
from core.domain.errors import NotFoundError
from core.storage.database import CONNECTING, Database
from core.storage.repositories import residency, rollouts
from core.storage.repositories.erasures import CHANNEL as ERASED_CHANNEL
from core.storage.repositories.keys import REVOKED_CHANNEL
from core.storage.repositories.rollouts import MARKS, MOVED_CHANNEL, Route
from service import turn_figures

log = structlog.get_logger()


class RoutingTable:
    """The routes of all agents, as of the last read."""

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}
        self._proved: Mapping[str, frozenset[AdapterName]] = {}

    async def refresh(self, database: Database) -> None:
        async with database.transaction() as session:
            routes = await rollouts.list_routes(session)
            proved = await residency.list_proved(
                session
            )  # after the routes: a version is proved before it is routed to
        self._proved = proved
        self._routes = {route.agent.name: route for route in routes}
        turn_figures.follow(self.all())

    def get(self, agent: str) -> Route:
        route = self._routes.get(agent)
        if route is None:
            raise NotFoundError(f"There is no agent {agent!r}.", code="model_not_found", param="model")
        return route

    def is_proved(self, engine_url: str, adapter: AdapterName) -> bool:
        """Whether that engine holds the version and has answered under it."""
        return adapter in self._proved.get(engine_url, ())

    def all(self) -> list[Route]:
        return [self._routes[name] for name in sorted(self._routes)]


async def follow(
    table: RoutingTable,
    database: Database,
    url: str,
    poll_seconds: float,
    on_revoked: Callable[[], None],
    on_erased: Callable[[str | None], None],
) -> None:
    """Re-read the table at each notification, and where it has changed though nobody said so, which is looked at every
    `poll_seconds`: to read all of it each time would hold every request up. Runs until cancelled.

    `on_erased` is told what a notice of erasure holds, and None where one may have been missed. While Postgres is away
    the last table stays in service.
    """
    while True:
        try:
            async with await AsyncConnection.connect(url, autocommit=True, **CONNECTING) as listening:
                await listening.execute(f"LISTEN {MOVED_CHANNEL}")
                await listening.execute(f"LISTEN {REVOKED_CHANNEL}")
                await listening.execute(f"LISTEN {ERASED_CHANNEL}")
                on_revoked()  # a notice may have been missed
                on_erased(None)
                known = None
                while True:
                    marks = await (await listening.execute(MARKS)).fetchone()
                    if marks != known:
                        await table.refresh(database)
                        known = marks
                    async for notice in listening.notifies(timeout=poll_seconds, stop_after=1):
                        if notice.channel == REVOKED_CHANNEL:
                            on_revoked()
                        if notice.channel == ERASED_CHANNEL:
                            on_erased(notice.payload)
        except (Error, SQLAlchemyError, OSError) as error:
            log.warning("routing table not refreshed", why=type(error).__name__)
            await asyncio.sleep(poll_seconds)
