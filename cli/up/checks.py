"""What can be known to go wrong before anything is started: packages, ports, disk."""

import shutil
import socket
from importlib.util import find_spec

import psutil

from cli.up.errors import StartError
from cli.up.home import Home
from cli.up.settings import UpSettings

PACKAGES = {
    "alembic": "alembic",
    "celery": "celery",
    "fastapi": "fastapi",
    "peft": "peft",
    "redis": "redis",
    "sqlalchemy": "sqlalchemy",
    "supervisor": "supervisor",
    "torch": "torch",
    "transformers": "transformers",
    "uvicorn": "uvicorn",
}
MIB = 2**20
FIRST_START_MIB, LATER_START_MIB = 2000, 300


def check_packages() -> None:
    """Refuse to start half a stack."""
    missing = sorted(name for module, name in PACKAGES.items() if find_spec(module) is None)
    if missing:
        raise StartError(f"Packages are missing: {', '.join(missing)}.", advice="Run `make install`.")


def check_ports(settings: UpSettings) -> None:
    """Refuse a port that somebody listens on."""
    _check_port(settings.host, settings.port, "NOCK_PORT", "gateway")
    if settings.engine_urls is None:
        if settings.engine_port == settings.port:
            raise StartError(
                f"Gateway and engine cannot both listen on port {settings.port}.",
                advice=f"Choose another for one of them, as in `NOCK_ENGINE_PORT={settings.port + 1}`.",
            )
        _check_port("127.0.0.1", settings.engine_port, "NOCK_ENGINE_PORT", "engine")


def _check_port(host: str, port: int, variable: str, name: str) -> None:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(address)
        except OSError as error:
            raise StartError(
                f"The {name} cannot listen on {host}:{port}: {_reason(port, error)}.",
                advice=f"Stop that, or choose another port, as in `{variable}={port + 10} make up`.",
            ) from error


def _reason(port: int, error: OSError) -> str:
    """Who holds the port, where the system tells us."""
    try:
        for connection in psutil.net_connections("inet"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
                if connection.pid is None:
                    break
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid}) does"
    except psutil.Error:
        pass  # macOS tells only root
    return error.strerror or str(error)


def check_given_redis(url: str) -> None:
    """Refuse a Redis that does not answer: the workers would try for ever, and say so only in their logs."""
    from kombu import Connection
    from kombu.exceptions import OperationalError

    try:
        with Connection(url, connect_timeout=5, transport_options={"socket_connect_timeout": 5}) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
    except (OperationalError, OSError, KeyError, ValueError) as error:
        raise StartError(
            f"The Redis of NOCK_REDIS_URL does not answer: {' '.join(str(error).split())}",
            advice="Start it and check the address, or unset NOCK_REDIS_URL and one is started for you.",
        ) from error


def check_disk(home: Home) -> None:
    """Refuse a disk that would fill up on the way: a model and its first adapters take most of it."""
    first = not any(home.models.iterdir()) or not home.postgres.exists()
    needed = FIRST_START_MIB if first else LATER_START_MIB
    free = shutil.disk_usage(home.folder).free // MIB
    if free < needed:
        raise StartError(
            f"The disk of {home.folder} has {free} MiB free; {'the first' if first else 'a'} start needs {needed}.",
            advice="Make room, or set NOCK_HOME to a folder on a larger disk.",
        )
