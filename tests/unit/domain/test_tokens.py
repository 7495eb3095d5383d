"""Tokens as bytes and back: nothing lost, damage always noticed."""

import dataclasses
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.errors import InvalidValueError
from core.domain.tokens import DamagedTokensError, PackedTokens, Tokens, pack, unpack

ids = st.lists(st.integers(0, 2**31 - 1), max_size=30).map(tuple)
logprobs = st.lists(st.floats(width=32, allow_nan=False), max_size=30).map(tuple)
turns = st.builds(Tokens, ids, ids, logprobs)


@given(turns, st.none() | turns)
def test_what_is_packed_comes_back(turn: Tokens, previous: Tokens | None) -> None:
    packed = pack(turn.prompt_ids, turn.completion_ids, turn.logprobs, previous)
    assert unpack(packed, previous) == turn
    assert -(2**31) <= packed.checksum < 2**31


@given(turns, ids, st.integers(0, 60))
def test_the_prefix_is_the_longest_that_both_share(previous: Tokens, tail: tuple[int, ...], cut: int) -> None:
    before = previous.transcript_ids
    prompt = before[:cut] + tail
    packed = pack(prompt, (), (), previous)
    length = packed.prefix_length
    assert prompt[:length] == before[:length]
    assert length >= min(cut, len(before))
    assert length in (len(prompt), len(before)) or prompt[length] != before[length]
    assert len(packed.prompt_tail) == 4 * (len(prompt) - length)


def test_a_prompt_that_goes_on_from_the_turn_before_stores_only_what_is_new() -> None:
    previous = Tokens((1, 2, 3), (4, 5), (-0.5, -0.25))
    packed = pack((1, 2, 3, 4, 5, 6), (7,), (-1.0,), previous)
    assert packed.prefix_length == 5
    assert packed.prompt_tail == struct.pack("<i", 6)
    assert packed.completion == struct.pack("<i", 7)
    assert packed.logprobs == struct.pack("<f", -1.0)


def test_log_probs_are_kept_as_float32() -> None:
    third = -1 / 3
    (kept,) = unpack(pack((), (), (third,))).logprobs
    assert kept == struct.unpack("<f", struct.pack("<f", third))[0]
    assert kept != third
    assert unpack(pack((), (), (-math.inf,))).logprobs == (-math.inf,)


@given(turns, turns, st.data())
def test_a_changed_bit_is_noticed(turn: Tokens, previous: Tokens, data: st.DataObject) -> None:
    packed = pack(turn.prompt_ids, turn.completion_ids, turn.logprobs, previous)
    field = data.draw(st.sampled_from(["prompt_tail", "completion", "logprobs"]))
    content = bytearray(getattr(packed, field))
    if content:
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= 1 << data.draw(st.integers(0, 7))
        with pytest.raises(DamagedTokensError):
            unpack(dataclasses.replace(packed, **{field: bytes(content)}), previous)


PREVIOUS = Tokens((1, 2, 3), (4, 5), (-0.5, -0.25))
PACKED = pack((1, 2, 3, 4, 9), (7,), (-1.0,), PREVIOUS)


@pytest.mark.parametrize("previous", [None, Tokens((1, 2), (3,), ()), Tokens((1, 2, 3), (5, 5), ())])
def test_another_turn_before_is_noticed(previous: Tokens | None) -> None:
    with pytest.raises(DamagedTokensError):
        unpack(PACKED, previous)


@pytest.mark.parametrize(
    "damaged",
    [
        dataclasses.replace(PACKED, prefix_length=3),
        dataclasses.replace(PACKED, prefix_length=-1),
        dataclasses.replace(PACKED, checksum=PACKED.checksum + 1),
        dataclasses.replace(PACKED, completion=PACKED.completion[:-1]),
        dataclasses.replace(PACKED, prompt_tail=PACKED.prompt_tail + PACKED.completion, completion=b""),  # only moved
    ],
)
def test_other_damage_is_noticed(damaged: PackedTokens) -> None:
    with pytest.raises(DamagedTokensError):
        unpack(damaged, PREVIOUS)


@pytest.mark.parametrize("bad", [-1, 2**31])
def test_what_is_no_token_id_is_refused(bad: int) -> None:
    with pytest.raises(InvalidValueError, match="token id"):
        pack((1, bad), (), ())
    with pytest.raises(InvalidValueError, match="token id"):
        pack((), (bad,), ())
