"""What every target stands on: the mock engine, and a migrated Postgres with the agent that is spoken with."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.gateway.cases import Bystanders
from bench.gateway.targets import add_agent, engine
from bench.outcomes import servers
from service.app import libpq_address

PYTHON_OF_GATEWAYS = Path(__file__).parents[2] / ".venv-gateways" / "bin" / "python"
"""Others' gateways live in an environment of their own: `make bench-gateway` makes it."""


@dataclass(frozen=True, slots=True)
class Ground:
    folder: Path
    engine_url: str
    database_url: str
    key: str
    """Nock's, for chat."""
    bystanders: Bystanders

    @property
    def libpq(self) -> str:
        return libpq_address(self.database_url)


@contextmanager
def running(folder: Path, *, pause: float = 0.0) -> Iterator[Ground]:
    with (
        servers.postgres_process(folder) as (database_url, postgres),
        engine(folder, pause=pause) as (engine_url, process),
    ):
        key = add_agent(database_url)
        yield Ground(folder, engine_url, database_url, key, Bystanders(process, postgres.pid))
