"""What the environment asks of a stack: which parts to start, and where they listen."""

import os
from dataclasses import dataclass

from cli.up.errors import StartError

DEFAULT_MODEL = "SmolLM2-135M-Instruct"


@dataclass(frozen=True, slots=True)
class UpSettings:
    """The variables that `nock up` reads; an address that is given is used instead of starting that part."""

    host: str
    port: int
    engine_port: int
    model: str | None
    database_url: str | None
    redis_url: str | None
    engine_urls: str | None
    secret: str | None

    @classmethod
    def from_environment(cls) -> "UpSettings":
        return cls(
            host=os.environ.get("NOCK_HOST") or "127.0.0.1",
            port=_port("NOCK_PORT", 8000),
            engine_port=_port("NOCK_ENGINE_PORT", 8001),
            model=os.environ.get("NOCK_MODEL") or None,
            database_url=os.environ.get("NOCK_DATABASE_URL") or None,
            redis_url=os.environ.get("NOCK_REDIS_URL") or None,
            engine_urls=os.environ.get("NOCK_ENGINE_URLS") or None,
            secret=os.environ.get("NOCK_SECRET") or None,
        )

    @property
    def url(self) -> str:
        """Where the gateway answers on this machine."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{host}:{self.port}"


def _port(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise StartError(f"{name} is {text!r}, which is no port.", advice=f"Give a number, as in `{name}={default}`.")
    return int(text)
