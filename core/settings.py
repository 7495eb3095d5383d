"""Where things are: settings that more than one process reads, from the environment (`NOCK_…`)."""

from functools import cached_property
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.domain.engine_sources import Source, parse_sources

ENGINE_ROOM = 16


class Settings(BaseSettings):
    """The base of every settings class: one prefix, a docstring under each field, empty means unset."""

    model_config = SettingsConfigDict(env_prefix="NOCK_", use_attribute_docstrings=True, env_ignore_empty=True)


class DatabaseSettings(Settings):
    """Postgres, the only truth."""

    database_url: str
    """SQLAlchemy URL of Postgres 16 or newer with the psycopg driver: `postgresql+psycopg://user:password@host/nock`."""

    database_pool: int = Field(default=10, ge=1)
    """Connections that one gateway process keeps for all but turns; while it is busy it opens as many again. Turns have
    six of their own, and one hears of changes."""


class SecretSettings(Settings):
    """What the deployment knows and nobody else."""

    secret: SecretStr = Field(min_length=32)
    """What feedback tokens are signed with and erased ids are hashed with: 32 characters or more, the same in gateway
    and worker, kept for as long as the database."""


class RedisSettings(Settings):
    """Redis, which holds only what can be rebuilt."""

    redis_url: str
    """`redis://host:6379/0`, or `redis+socket:///path/to/redis.sock`."""


class EngineSettings(Settings):
    """The inference engines, which speak vLLM's dialect and are reachable by gateway and worker only."""

    engine_urls: str
    """Where the engines are, comma between several: `http://engine:8000`; `dns+http://engines:8000` for all addresses
    of that name; `file:///etc/nock/engines.txt` for a file with one a line. The last two may change at any time."""

    engine_timeout_seconds: float = Field(default=120.0, gt=0)
    """How long one reply may take in all; then the client gets 504. A version is unloaded no sooner than this after its
    last conversation has ended."""

    engine_connect_seconds: float = Field(default=5.0, gt=0)
    """How long to wait for an engine to accept a connection or to answer a health check: longer passes a dead engine
    over later, and forgives a processor that a learner keeps busy."""

    engine_silence_seconds: float = Field(default=60.0, gt=0)
    """How long a stream may pause, and an engine may fail its health checks, until what it was asked is given up, and
    asked of another where nothing has come yet. Longer forgives long prompts and queues; a hang is noticed later."""

    engine_hedge_seconds: float = Field(default=0.0, ge=0)
    """How long an engine may say nothing until another is asked the same; whose answer begins first is told, and the
    other's work is cancelled. Nought: never, for each such request costs two engines."""

    engine_concurrency: int = Field(default=256, ge=1)
    """Requests that one gateway gives one engine at once; where all are full clients get 503. At least the engine's own
    batch (vLLM's `--max-num-seqs`): less leaves it idle, more makes requests wait there."""

    engine_load_seconds: float = Field(default=60.0, gt=0)
    """How long an engine may take to load an adapter and to answer the probe."""

    engine_room: int = Field(default=ENGINE_ROOM, ge=1)
    """Adapter versions that each engine may hold, at most its `--max-cpu-loras`: what would need more is refused."""

    @field_validator("engine_urls")
    @classmethod
    def names_engines(cls, engine_urls: str) -> str:
        parse_sources(engine_urls)
        return engine_urls

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        return parse_sources(self.engine_urls)


class AdapterStoreSettings(Settings):
    """The folder of adapters, which outlives processes; gateway, worker and engines see the same path."""

    adapters_dir: Path = Path(".nock/adapters")
    """Adapter versions, one immutable folder each; mounted at one path in gateway, worker and engine."""


class StoreSettings(AdapterStoreSettings):
    """Folders that the learner writes, and that outlive it."""

    checkpoints_dir: Path = Path(".nock/checkpoints")
    """The learner's own state: critics and optimisers, kept for the next step."""


class LogSettings(Settings):
    """What processes say."""

    log_level: str = "INFO"
    """`DEBUG`, `INFO`, `WARNING` or `ERROR`."""

    log_format: str = Field(default="text", pattern="^(text|json)$")
    """`json` for machines, `text` for people."""
