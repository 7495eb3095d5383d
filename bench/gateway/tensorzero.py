"""TensorZero's gateway before the mock engine: keeping nothing, or keeping each inference in Postgres."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg

from bench.gateway import tensorzero_migrations
from bench.gateway.engine import MODEL
from bench.gateway.stack import PYTHON_OF_GATEWAYS, Ground
from bench.gateway.targets import Target, held_by
from bench.outcomes import servers
from cli.up import embedded_postgres
from service.app import libpq_address

PROCESS = Path(__file__).parent / "tensorzero_process.py"
DATABASE = "tensorzero"
CONFIG = """
[gateway.observability]
{observability}

[models.mock]
routing = ["mock"]

[models.mock.providers.mock]
type = "vllm"
api_base = "{engine}/v1/"
model_name = "{model}"
api_key_location = "none"
"""
KEEPS = {
    "tensorzero": "enabled = false",
    "tensorzero-postgres": 'enabled = true\nbackend = "postgres"',
    "tensorzero-postgres-waits": 'enabled = true\nbackend = "postgres"\nasync_writes = false',
}
"""As it comes it answers before it has written; the last one answers after."""


@contextmanager
def running(ground: Ground, name: str) -> Iterator[Target]:
    folder = ground.folder / name
    folder.mkdir(exist_ok=True)
    config, address = folder / "tensorzero.toml", folder / "address"
    config.write_text(CONFIG.format(observability=KEEPS[name], engine=ground.engine_url, model=MODEL))
    address.unlink(missing_ok=True)
    argv = [str(PYTHON_OF_GATEWAYS), "-I", str(PROCESS), f"--config={config}", f"--address={address}"]
    if name != "tensorzero":
        argv.append(
            f"--postgres=postgres://postgres@localhost/{DATABASE}?host={quote(str(prepared(ground)), safe='/')}"
        )
    with servers.running(argv, {"RUST_LOG": "error"}, folder / "log", address.exists, stop="TERM") as tether:
        url = address.read_text().rstrip("/").removesuffix("/openai/v1") + "/openai/v1/chat/completions"
        yield Target(name, url, f"tensorzero::model_name::{MODEL}", tuple(held_by(tether.pid)))


def prepared(ground: Ground) -> Path:
    """The server's sockets; the database is made at the first call, beside Nock's in the same server."""
    sockets = ground.folder / "sockets"
    embedded_postgres.create_database(sockets, DATABASE)
    with psycopg.connect(kept_in(ground)) as connection:
        made = connection.execute("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetchone()
    if made == (False,):
        library = next(PYTHON_OF_GATEWAYS.parents[1].glob("lib/*/site-packages/tensorzero/*.so"))
        tensorzero_migrations.run(kept_in(ground), library)
    return sockets


def kept_in(ground: Ground) -> str:
    """The address of its database, as libpq reads it."""
    return libpq_address(embedded_postgres.url(ground.folder / "sockets", DATABASE))
