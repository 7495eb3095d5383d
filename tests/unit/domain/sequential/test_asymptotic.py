"""The normal mixture beside the figures that its authors' library is tested with, and what is made of it."""

import math
import random

import pytest

from core.domain.sequential.asymptotic import FIRST, NormalMixture, boundary, interval, log_mixture, tuned_rho


def after(entered: list[float], bound: float = 0.0, error: float = 0.025) -> NormalMixture:
    mixture = NormalMixture(bound, error)
    for each in entered:
        mixture.enter(each)
    return mixture


def test_the_mixture_and_its_boundary_are_the_published_ones() -> None:
    """gostevehoward/confseq, test/uniform_boundaries_unittest.cpp: OneSidedNormalMixture(100, 0.05)."""
    rho = tuned_rho(100, 0.05)
    assert log_mixture(10, 100, rho) == pytest.approx(-0.06502391, abs=1e-5)
    assert boundary(100, rho, 0.05) == pytest.approx(27.66071, abs=1e-5)


def test_it_is_tuned_as_published() -> None:
    """The same: TwoSidedNormalMixture::best_rho(100, 0.05), which is that of one side at half the error."""
    assert tuned_rho(100, 0.05 / 2) == pytest.approx(12.60056, abs=1e-5)


@pytest.mark.parametrize("time", [50, 500, 5_000])
@pytest.mark.parametrize("error", [0.05, 0.025, 0.00625])
def test_the_boundary_lies_a_little_below_its_closed_form(time: int, error: float) -> None:
    """Waudby-Smith et al. (2024), the one-sided sequence; their ρ² is one over ours."""
    rho = tuned_rho(FIRST, error)
    t, r2 = time, 1 / rho
    closed = t * math.sqrt(2 * (t * r2 + 1) / (t**2 * r2) * math.log1p(math.sqrt(t * r2 + 1) / (2 * error)))
    assert 0.95 * closed < boundary(time, rho, error) <= closed


def test_the_tuned_boundary_is_nearly_the_lowest() -> None:
    tuned = boundary(FIRST, tuned_rho(FIRST, 0.025), 0.025)
    assert tuned <= 1.002 * min(boundary(FIRST, FIRST / ratio, 0.025) for ratio in (2, 4, 6, 8, 10, 12, 16))


def test_the_moments_are_the_differences() -> None:
    mixture = after([1.0, 2.0, 4.0, 5.0])
    assert (mixture.mean, mixture.deviation) == pytest.approx((3.0, math.sqrt(10 / 4)))


def test_nothing_is_decided_before_the_fiftieth() -> None:
    entered = [1_000.0, 1_001.0] * 25
    assert after(entered[:-1]).log_evidence == 0.0
    assert after(entered).log_evidence > 10
    assert interval(entered[:-1], 0.05) is None


def test_differences_that_are_all_alike_decide_nothing() -> None:
    assert after([3.0] * 100).log_evidence == 0.0


def test_the_scale_of_a_metric_does_not_matter() -> None:
    chance = random.Random(0)
    entered = [chance.gauss(0.1, 1) for _ in range(200)]
    ends = interval(entered, 0.05)
    assert ends is not None
    assert after([1_000 * each for each in entered]).log_evidence == pytest.approx(after(entered).log_evidence)
    assert interval([1_000 * each for each in entered], 0.05) == pytest.approx(tuple(1_000 * end for end in ends))


def test_an_interval_ends_where_the_evidence_crosses() -> None:
    chance = random.Random(0)
    entered = [chance.gauss(3, 2) for _ in range(300)]
    ends = interval(entered, 0.05)
    assert ends is not None
    assert after(entered, ends[0]).log_evidence == pytest.approx(math.log(40))
    assert after([-each for each in entered], -ends[1]).log_evidence == pytest.approx(math.log(40))


def test_the_further_on_the_wrong_side_the_less_evidence() -> None:
    evidence = [log_mixture(walked, 100, 15.0) for walked in (-10, -100, -321, -322, -323, -1_000, -1e9)]
    assert evidence == sorted(evidence, reverse=True)
    assert evidence[2] - evidence[4] < 0.02  # where the one formula gives way to the other


def test_luck_alone_seldom_crosses() -> None:
    chance, error, runs, crossed = random.Random(3), 0.1, 300, 0
    for _ in range(runs):
        mixture = NormalMixture(0.0, error)
        for _ in range(400):
            mixture.enter(chance.expovariate(1) - chance.expovariate(1))
            if mixture.log_evidence >= -math.log(error):
                crossed += 1
                break
    assert crossed / runs <= error
