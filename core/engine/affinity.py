"""In which order engines take a conversation's request: the one that remembers it first, unless it is busy.

An engine keeps what it computed of a conversation (its prefix cache), and the next turn costs little there. Knows
nothing of engines but their addresses and how many requests each has.
"""

from collections.abc import Mapping
from hashlib import blake2b
from uuid import UUID

MORE = 2
SHARE = 0.5
"""How many requests more than the least busy one an engine may have and still be given its conversations: two, or half
as many again. Then 73 to 87 of 100 next turns meet their engine again (`bench/affinity.py`)."""


def in_order(
    load: Mapping[str, int], conversation: UUID | None, *, more: int = MORE, share: float = SHARE
) -> list[str]:
    """Addresses, best first. Each conversation has a ranking of its own (rendezvous hashing): all gateways agree on it,
    and an engine that comes or goes moves only the conversations that it takes or had."""
    if len(load) < 2:
        return list(load)
    if conversation is None:
        return sorted(load, key=load.__getitem__)
    least = min(load.values())
    most = max(least + more, least * (1 + share))
    return sorted(load, key=lambda url: (load[url] > most, _rank(url, conversation)))


def _rank(url: str, conversation: UUID) -> bytes:
    return blake2b(conversation.bytes + url.encode(), digest_size=8).digest()
