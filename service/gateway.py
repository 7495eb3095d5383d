"""What one gateway process holds: database, engines, routing, keys, what waits to be written. Made once, in app.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.metrics_core import Metric

from core.domain.errors import NockError
from core.domain.signatures import Signer
from core.engine.pool import EnginePool
from core.storage.database import Database
from service.feedback.outcomes import Answer
from service.feedback.taking import Told
from service.gathering import Gathering
from service.kept_answer import KeptAnswer
from service.key_ring import KeyRing
from service.limits.limiter import Limiter
from service.routing_table import RoutingTable
from service.settings import GatewaySettings
from service.token_memory import TokenMemory
from service.turn_log import TurnLog


@dataclass(frozen=True, slots=True)
class Gateway:
    settings: GatewaySettings
    database: Database
    pool: EnginePool
    routing: RoutingTable
    keys: KeyRing
    limits: Limiter
    tokens: TokenMemory
    signer: Signer
    adapters_dir: Path
    outcomes: Gathering[Told, Answer | NockError]
    turns: TurnLog
    missing_in_database: KeptAnswer[Sequence[str]]
    figures: KeptAnswer[Sequence[Metric]]
