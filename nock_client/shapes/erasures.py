"""What was erased, and what followed for versions."""

from typing import Literal, TypedDict

Policy = Literal["keep", "retrain", "retire"]


class TaughtVersion(TypedDict):
    adapter: str
    learned: str
    turns: int
    marked: Policy


class Consequences(TypedDict):
    policy: Policy
    runs: dict[str, int]
    versions: list[TaughtVersion]
    stable: str | None
    queued_run: str | None
    running: str | None


class TakenExport(TypedDict):
    export_id: str
    place: str
    snapshot_at: str
    manifest_sha256: str | None


class ErasurePart(TypedDict):
    """One agent's share of an erasure."""

    agent: str
    removed: dict[str, int]
    tombstones: int
    repeating: int
    branched_off: int
    consequences: Consequences
    exports: list[TakenExport]


class Erasure(TypedDict):
    erasure_id: str
    subject: Literal["conversation", "user", "retention"]
    by: str
    erased_at: str
    removed: dict[str, int]
    agents: list[ErasurePart]
    beyond_reach: list[str]
