"""The gateway's own settings."""

import re
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from core.settings import Settings

ORIGIN = re.compile(r"\*|https?://[a-z0-9.:\[\]-]+")


class GatewaySettings(Settings):
    """Where the gateway listens and how it behaves towards its clients."""

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` behind a proxy that ends TLS."""

    port: int = Field(default=8000, ge=1, le=65535)
    """Port to listen on."""

    processes: int = Field(default=1, ge=1)
    """Gateway processes behind that one port. One serves as much as one core; each holds connections of its own to
    Postgres: up to twice `NOCK_DATABASE_POOL`, and seven."""

    max_body_bytes: int = Field(default=1024 * 1024, ge=1024)
    """A larger request body is refused with 413, where no other limit is named; of a chat completion, what is no image,
    sound or file."""

    chat_body_bytes: int = Field(default=20 * 1024 * 1024, ge=1024)
    """A larger chat completion request is refused with 413, with the images, sounds and files that it holds."""

    feedback_batch_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    """A larger batch of feedback is refused with 413."""

    adapter_bytes: int = Field(default=1024**3, ge=1024)
    """A larger upload of an adapter that was trained elsewhere is refused with 413."""

    routing_poll_seconds: float = Field(default=0.5, gt=0)
    """How stale a gateway's routing may be when Postgres' notification is lost; otherwise it follows at once."""

    key_cache_seconds: float = Field(default=1.0, ge=0)
    """How long a valid key is trusted without asking Postgres, should the notice of its revocation be lost."""

    most_requests: int = Field(default=1024, ge=1)
    """Requests that one gateway works on at once; one more gets 503. More lets more people wait for a slow engine or
    database, and takes memory for each."""

    leave_seconds: float = Field(default=0.0, ge=0)
    """How long after SIGTERM the gateway still takes requests while `/readyz` says 503: what a load balancer needs to
    notice."""

    drain_seconds: int = Field(default=30, ge=0)
    """How long requests under way may go on after that; then they are cut, and streams kept as truncated. Whoever stops
    the process must wait this long, `leave_seconds` and five seconds more."""

    engine_check_seconds: float = Field(default=1.0, gt=0)
    """How often the engines are looked at."""

    retry_window_seconds: float = Field(default=600.0, ge=0)
    """How long the same history with the same new messages counts as a retry, which gets the first answer again."""

    token_memory: int = Field(default=2000, ge=0)
    """Conversations whose latest tokens a gateway keeps in memory: their turns store only what is new in the prompt."""

    cors_origins: str | None = None
    """Web pages that may chat and give feedback from a browser: origins as `https://shop.example`, comma between
    several; `*` is any page. Cookies are never taken."""

    redis_url: str | None = None
    """Where limits of keys and end users are counted: `redis://host:6379/0`, or `redis+socket:///path/to/redis.sock`.
    Without it, limits are treated as while Redis is away."""

    limits_without_redis: Literal["open", "closed"] = "open"
    """What becomes of requests that have a limit while Redis is away: `open` lets them in, `closed` answers 503."""

    bootstrap_admin_key: SecretStr | None = None
    """A secret (`nk_…`) that becomes an admin key at start where the database has no key yet; used once."""

    @field_validator("cors_origins")
    @classmethod
    def names_origins(cls, origins: str | None) -> str | None:
        for origin in _listed(origins):
            if not ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin: write https://shop.example, in small letters, without a path"
                )
        return origins

    @property
    def origins(self) -> tuple[str, ...]:
        return _listed(self.cors_origins)


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())
