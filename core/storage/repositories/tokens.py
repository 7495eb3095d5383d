"""The tokens of turns, read back along the chain of prefixes that they are stored in."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.tokens import DamagedTokensError, PackedTokens, Tokens, unpack
from core.storage.models import TurnTokens
from core.storage.repositories import turns


async def read_tokens(session: AsyncSession, turn_ids: Iterable[UUID]) -> dict[UUID, Tokens]:
    """The tokens of these turns; one whose bytes are missing or damaged is left out."""
    wanted = set(turn_ids)
    rows: dict[UUID, TurnTokens] = {}
    missing = set(wanted)
    while missing:  # a prefix may lie in a conversation that this one branched off from
        found = await turns.list_tokens(session, missing)
        rows |= found
        missing = {row.prefix_turn_id for row in found.values() if row.prefix_turn_id} - rows.keys()
    decoded = _decode(rows)
    return {turn_id: tokens for turn_id, tokens in decoded.items() if tokens is not None and turn_id in wanted}


def _decode(rows: Mapping[UUID, TurnTokens]) -> dict[UUID, Tokens | None]:
    decoded: dict[UUID, Tokens | None] = {}
    for turn_id in rows:
        chain, before = [turn_id], rows[turn_id].prefix_turn_id
        while before is not None and before in rows and before not in decoded and before not in chain:
            chain.append(before)
            before = rows[before].prefix_turn_id
        for link in reversed(chain):
            decoded[link] = _unpacked(rows[link], decoded)
    return decoded


def _unpacked(row: TurnTokens, decoded: Mapping[UUID, Tokens | None]) -> Tokens | None:
    previous = None if row.prefix_turn_id is None else decoded.get(row.prefix_turn_id)
    packed = PackedTokens(row.prefix_length, row.prompt_tail, row.completion, row.logprobs, row.checksum)
    try:
        return unpack(packed, previous)
    except DamagedTokensError:
        return None
