"""Wealth by hand, its invariances, and how seldom luck alone makes one rich."""

import json
import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.sequential import betting
from core.domain.sequential.betting import BETS, SHARES, Bets, interval, log_mean_exp

differences = st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), max_size=40)


def after(entered: list[float], bound: float = 0.0) -> Bets:
    bets = Bets(bound)
    for each in entered:
        bets.enter(each)
    return bets


def test_two_bets_after_three_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(betting, "SHARES", (0.25, 0.5))
    bets = Bets(-0.5, [0.0, 0.0])
    for each in (1.0, 0.0, -1.0):
        bets.enter(each)
    # λ = 0.25 / 0.5 and 0.5 / 0.5, D + 0.5 = 1.5, 0.5, -0.5:
    # 1.75 · 1.25 · 0.75 = 1.640625 and 2.5 · 1.5 · 0.5 = 1.875.
    assert [math.exp(log) for log in bets.logs] == pytest.approx([1.640625, 1.875])
    assert math.exp(bets.log_evidence) == pytest.approx((1.640625 + 1.875) / 2)


def test_nothing_seen_is_no_evidence() -> None:
    assert Bets(0.3).log_evidence == 0
    assert interval([], 0.05) == (-1.0, 1.0)


def test_bets_are_spread_evenly_as_ratios_up_to_the_largest() -> None:
    assert len(SHARES) == BETS
    assert (SHARES[0], SHARES[-1]) == pytest.approx((0.02, 0.95))
    assert SHARES[1] / SHARES[0] == pytest.approx(SHARES[-1] / SHARES[-2])


@pytest.mark.parametrize("bound", [-0.9, 0.0, 0.9])
def test_no_loss_ruins(bound: float) -> None:
    assert all(math.isfinite(log) for log in after([-1.0] * 1_000, bound).logs)


@given(differences, st.sampled_from([-0.5, 0.0, 0.5]))
def test_a_game_goes_on_from_its_json(entered: list[float], bound: float) -> None:
    half = after(entered[:20], bound)
    resumed = Bets(bound, json.loads(json.dumps(half.logs)))
    for each in entered[20:]:
        resumed.enter(each)
    assert resumed.logs == after(entered, bound).logs


@given(differences)
def test_evidence_falls_as_the_hypothesis_allows_more(entered: list[float]) -> None:
    evidence = [after(entered, bound).log_evidence for bound in (-0.5, -0.1, 0.0, 0.1, 0.5)]
    assert all(larger >= less - 1e-9 for larger, less in pairwise(evidence))


@given(differences)
def test_one_fair_step_gains_nothing_on_average(entered: list[float]) -> None:
    before = after(entered)
    stepped = [after([*entered, step]).log_evidence for step in (1.0, -1.0)]
    assert log_mean_exp(stepped) == pytest.approx(before.log_evidence)


@given(differences)
def test_an_interval_mirrors(entered: list[float]) -> None:
    low, high = interval(entered, 0.05)
    assert interval([-each for each in entered], 0.05) == pytest.approx((-high, -low))
    assert -1 <= low <= high <= 1


def test_an_interval_ends_where_the_evidence_crosses() -> None:
    chance = random.Random(0)
    entered = [chance.choice((-1.0, 0.0, 0.0, 1.0, 1.0)) for _ in range(400)]
    low, high = interval(entered, 0.05)
    assert low < 0.2 < high
    assert after(entered, low).log_evidence >= math.log(40) >= after(entered, low + 0.001).log_evidence
    mirrored = [-each for each in entered]
    assert after(mirrored, -high).log_evidence >= math.log(40) >= after(mirrored, -high + 0.001).log_evidence


def test_luck_alone_seldom_makes_rich() -> None:
    chance, error, runs, rich = random.Random(7), 0.1, 300, 0
    for _ in range(runs):
        bets = Bets(0.0)
        for _ in range(300):
            bets.enter(float(chance.random() < 0.5) - float(chance.random() < 0.5))
            if bets.log_evidence >= -math.log(error):
                rich += 1
                break
    assert rich / runs <= error
