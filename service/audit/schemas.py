"""One act of an administrator as it is shown."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel


class AuditOut(BaseModel):
    """`by`: a key's id, or the command that went straight to the database. `agents`: those touched that the asking key
    may see; null where an act may touch any."""

    audit_id: str
    at: datetime
    by: str
    action: str
    agents: list[str] | None
    subject: str | None
    details: dict[str, Any]


class Audit(BaseModel):
    data: list[AuditOut]
    next: str | None
