"""What an erasure did to one agent, as it is kept: counts, runs and versions, and never a person or a conversation."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from core.domain.erasure import ErasurePolicy

ALWAYS_BEYOND_REACH = (
    "Backups of Postgres and its archived WAL hold it until they are overwritten or deleted.",
    "Postgres' own files hold deleted rows until it vacuums them.",
    "Log files may name ids of its conversations and turns; what was said is never logged.",
    "An engine may hold its prompts in the prefix cache until others take their place or it restarts.",
    "What clients and other systems keep of it is theirs to erase.",
)


@dataclass(frozen=True, slots=True)
class TaughtVersion:
    """A version that learned from what was erased: through its own run's `turns`, or by what its run began with."""

    adapter: str
    learned: str
    turns: int
    marked: ErasurePolicy


@dataclass(frozen=True, slots=True)
class Consequences:
    """What the agent's policy did."""

    policy: ErasurePolicy
    runs: Mapping[str, int] = field(default_factory=dict)
    versions: Sequence[TaughtVersion] = ()
    stable: str | None = None
    """The version that the agent was rolled back to, if it was."""
    queued_run: str | None = None
    running: str | None = None
    """A run that was learning at this moment, and may have read what is gone: what comes out of it is marked."""


@dataclass(frozen=True, slots=True)
class TakenExport:
    """An export that may hold what was erased: where it was written to, and its manifest if it came to its end."""

    export_id: str
    place: str
    snapshot_at: str
    manifest_sha256: str | None


@dataclass(frozen=True, slots=True)
class Part:
    """The report on one agent."""

    agent: str
    removed: Mapping[str, int]
    tombstones: int
    repeating: int
    """Of the conversations, those that were erased because they repeated others."""
    branched_off: int
    """Of the conversations, those that began with what was said in one that stays."""
    consequences: Consequences
    exports: Sequence[TakenExport] = ()

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "beyond_reach": self._beyond_reach()}

    def _beyond_reach(self) -> list[str]:
        sentences = list(ALWAYS_BEYOND_REACH)
        if self.consequences.versions:
            sentences.append("The weights of the versions that learned from it stay in their files.")
        if self.exports:
            sentences.append("Exports that were taken before hold it: delete the folders, or take them anew.")
        if self.branched_off:
            sentences.append("It began with what was said in another conversation, which stays until it is erased too.")
        return sentences
