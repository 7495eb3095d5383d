"""What administrators did."""

from nock_client.call import Call, get
from nock_client.shapes import AuditEntry, Page


def audit(
    *, agent: str | None = None, action: str | None = None, after: str | None = None, limit: int | None = None
) -> Call[Page[AuditEntry]]:
    """The log of what administrators did, newest first, of all agents that this key may see or of one."""
    return get("/admin/audit", agent=agent, action=action, after=after, limit=limit)
