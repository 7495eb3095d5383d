"""Erase, and read what was erased."""

from nock_client.call import Call, delete, get, part
from nock_client.shapes import Erasure, Page


def delete_conversation(conversation_id: str, *, agent: str | None = None) -> Call[Erasure]:
    """Erase a conversation and all that repeats it. Again: the same report."""
    return delete(f"/conversations/{part(conversation_id)}", agent=agent)


def delete_user(user: str, *, agent: str | None = None) -> Call[Erasure]:
    """Erase every conversation of an end user, with one agent or all that the key may see."""
    return delete(f"/users/{part(user)}", agent=agent)


def erasures(*, after: str | None = None, limit: int | None = None) -> Call[Page[Erasure]]:
    """What was erased, newest first."""
    return get("/admin/erasures", after=after, limit=limit)


def erasure(erasure_id: str) -> Call[Erasure]:
    """One report, as it was answered."""
    return get(f"/admin/erasures/{part(erasure_id)}")
