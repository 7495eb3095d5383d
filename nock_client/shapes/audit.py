"""One act of an administrator."""

from typing import Any, TypedDict


class AuditEntry(TypedDict):
    """`by`: a key's id or a command; `agents`: those touched that you may see, None where an act may touch any."""

    audit_id: str
    at: str
    by: str
    action: str
    agents: list[str] | None
    subject: str | None
    details: dict[str, Any]
