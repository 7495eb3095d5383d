"""Where the database is, for the few commands that go past the gateway."""

import os

from cli.gateway import fail
from cli.up.home import Home


def database_url() -> str:
    """NOCK_DATABASE_URL, else this machine's own stack's; without either the command ends."""
    return os.environ.get("NOCK_DATABASE_URL") or _embedded_database_url()


def _embedded_database_url() -> str:
    try:
        from cli.up import embedded_postgres  # only here: a gateway's image has no embedded servers
    except ModuleNotFoundError:
        fail("There is no stack on this machine: set NOCK_DATABASE_URL.")
    sockets = Home.from_environment().sockets / "postgres"
    if not embedded_postgres.answers(sockets):
        fail("No database answers: start `nock up`, or set NOCK_DATABASE_URL.")
    return embedded_postgres.url(sockets)
