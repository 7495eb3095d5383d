"""The report on an erasure: what went, what had learned from it, and what stays where Nock cannot reach."""

from datetime import datetime

from pydantic import BaseModel

from core.domain.erasure import ErasurePolicy, ErasureSubject


class TaughtVersionOut(BaseModel):
    """A version that learned from what was erased: from `turns` of it, or it began with what had learned from it."""

    adapter: str
    learned: str
    turns: int
    marked: ErasurePolicy


class ConsequencesOut(BaseModel):
    """What the agent's policy did. `runs`: how many erased turns had taught each. `stable`: the version that the agent
    was rolled back to. `queued_run`: what learns without it. `running`: a run that may have read it before it went;
    what comes out of it is marked."""

    policy: ErasurePolicy
    runs: dict[str, int]
    versions: list[TaughtVersionOut]
    stable: str | None
    queued_run: str | None
    running: str | None


class TakenExportOut(BaseModel):
    """An export that may hold what was erased; without a manifest it never came to its end."""

    export_id: str
    place: str
    snapshot_at: datetime
    manifest_sha256: str | None


class PartOut(BaseModel):
    """What was done to one agent. `repeating`: conversations that went because they repeated others; `branched_off`:
    those that began with what was said in one that stays."""

    agent: str
    removed: dict[str, int]
    tombstones: int
    repeating: int
    branched_off: int
    consequences: ConsequencesOut
    exports: list[TakenExportOut]


class ErasureOut(BaseModel):
    """`removed` counts rows by table, over all `agents` that the key may see."""

    erasure_id: str
    subject: ErasureSubject
    by: str
    erased_at: datetime
    removed: dict[str, int]
    agents: list[PartOut]
    beyond_reach: list[str]


class Erasures(BaseModel):
    data: list[ErasureOut]
    next: str | None
