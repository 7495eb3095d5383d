"""Token ids and log-probs of a turn as compact bytes and back; knows no table and no tokenizer.

A prompt repeats the conversation so far, so what it shares with an earlier turn is kept as a length only.
"""

import sys
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from core.domain.errors import ConflictError, InvalidValueError


class DamagedTokensError(ConflictError):
    """Stored tokens are not those that were written."""

    code = "damaged_tokens"


@dataclass(frozen=True, slots=True)
class Tokens:
    """One turn as the engine sampled it; the log-probs are rounded to float32."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]

    @property
    def transcript_ids(self) -> tuple[int, ...]:
        """The prompt with its completion: what the next turn's prompt mostly repeats."""
        return self.prompt_ids + self.completion_ids


@dataclass(frozen=True, slots=True)
class PackedTokens:
    """The columns of `turn_tokens`. `checksum` is a CRC-32 over the whole turn, signed as Postgres' integers are."""

    prefix_length: int
    prompt_tail: bytes
    completion: bytes
    logprobs: bytes
    checksum: int


def pack(
    prompt_ids: Sequence[int],
    completion_ids: Sequence[int],
    logprobs: Sequence[float],
    previous: Tokens | None = None,
) -> PackedTokens:
    """The turn as bytes; what its prompt shares with the `previous` turn's prompt and completion is left out."""
    shared = 0 if previous is None else _shared_length(prompt_ids, previous.transcript_ids)
    prompt, completion, floats = ids_to_bytes(prompt_ids), ids_to_bytes(completion_ids), _to_bytes("f", logprobs)
    return PackedTokens(shared, prompt[4 * shared :], completion, floats, _checksum(prompt, completion, floats))


def unpack(packed: PackedTokens, previous: Tokens | None = None) -> Tokens:
    """The turn as it was; `previous` is the turn that it was packed after.

    Raises DamagedTokensError when a byte changed or the previous turn is missing or another one.
    """
    before = () if previous is None else previous.transcript_ids
    if not 0 <= packed.prefix_length <= len(before):
        raise DamagedTokensError(
            f"The prompt begins with {packed.prefix_length} tokens of a turn that has {len(before)}."
        )
    prompt = ids_to_bytes(before[: packed.prefix_length]) + packed.prompt_tail
    if _checksum(prompt, packed.completion, packed.logprobs) != packed.checksum:
        raise DamagedTokensError("The stored tokens do not have the checksum that they were stored with.")
    return Tokens(
        ids_of(prompt),
        ids_of(packed.completion),
        tuple(_from_bytes("f", packed.logprobs)),
    )


def _shared_length(left: Sequence[int], right: Sequence[int]) -> int:
    shortest = min(len(left), len(right))
    return next((place for place in range(shortest) if left[place] != right[place]), shortest)


def _checksum(prompt: bytes, completion: bytes, logprobs: bytes) -> int:
    # The lengths go in too: a token that moves from the prompt to the completion leaves the bytes as they were.
    lengths = _to_bytes("i", [len(prompt), len(completion), len(logprobs)])
    unsigned = zlib.crc32(logprobs, zlib.crc32(completion, zlib.crc32(prompt, zlib.crc32(lengths))))
    return unsigned - 2**32 if unsigned >= 2**31 else unsigned


def ids_to_bytes(ids: Sequence[int]) -> bytes:
    """Little-endian int32."""
    if ids and not 0 <= min(ids) <= max(ids) < 2**31:
        raise InvalidValueError("A token id is negative or larger than any vocabulary.")
    return _to_bytes("i", ids)


def ids_of(content: bytes) -> tuple[int, ...]:
    """The ids that `ids_to_bytes` wrote."""
    return tuple(_from_bytes("i", content))


def _to_bytes(kind: str, numbers: Sequence[float]) -> bytes:
    return _little_endian(array(kind, numbers)).tobytes()


def _from_bytes(kind: str, content: bytes) -> array:  # type: ignore[type-arg]  # ints or floats, as `kind` says
    return _little_endian(array(kind, content))


def _little_endian(numbers: array) -> array:  # type: ignore[type-arg]  # the same
    """The stored order, whatever machine this is."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
