"""Tokens are drawn from the distribution that temperature, top-k and top-p leave, and reported under it."""

import math

import pytest
import torch

from engine.sampling import Sampler, SamplerRow, Sampling, cut_to_top, draw

CPU = torch.device("cpu")
# Probabilities 1/2, 1/4, 1/8, 1/8 at temperature 1.
HALVES = torch.tensor([[math.log(8.0), math.log(4.0), math.log(2.0), math.log(2.0)]])


def sampled_counts(sampling: Sampling, logits: torch.Tensor, draws: int) -> list[int]:
    rows = [SamplerRow(Sampling(**{**_fields(sampling), "seed": seed})) for seed in range(draws)]
    tokens = Sampler(rows, CPU).sample(logits.expand(draws, -1).clone()).tokens
    return torch.bincount(tokens, minlength=logits.shape[1]).tolist()


def _fields(sampling: Sampling) -> dict[str, object]:
    return {name: getattr(sampling, name) for name in Sampling.__slots__}


def logprob_of(sampling: Sampling, logits: torch.Tensor) -> tuple[int, float]:
    sampled = Sampler([SamplerRow(sampling)], CPU).sample(logits.clone())
    assert sampled.logprobs is not None
    return int(sampled.tokens[0]), float(sampled.logprobs[0])


def test_a_draw_falls_into_the_stretch_of_its_token() -> None:
    # Cumulated: 1/2, 3/4, 7/8, 1.
    uniforms = torch.tensor([0.0, 0.49, 0.51, 0.74, 0.76, 0.88, 0.999999], dtype=torch.float64)
    assert draw(HALVES.expand(7, -1), uniforms).tolist() == [0, 0, 1, 1, 2, 3, 3]


def test_a_token_of_probability_zero_is_never_drawn_however_large_the_number() -> None:
    logits = torch.tensor([[0.0, 0.0, -torch.inf]])
    almost_one = torch.tensor([math.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert draw(logits, almost_one).item() == 1
    assert draw(torch.tensor([[-torch.inf, 0.0, 0.0]]), torch.zeros(1, dtype=torch.float64)).item() == 1


def test_temperature_zero_takes_the_likeliest_token_and_reports_it_undistorted() -> None:
    assert logprob_of(Sampling(temperature=0.0, wants_logprobs=True), HALVES) == (0, pytest.approx(math.log(1 / 2)))


def test_temperature_two_is_reported_after_the_temperature() -> None:
    # Roots of 8, 4, 2, 2 over their sum: 2.828, 2, 1.414, 1.414 over 7.657.
    token, logprob = logprob_of(Sampling(temperature=2.0, seed=3, wants_logprobs=True), HALVES)
    roots = [8**0.5, 4**0.5, 2**0.5, 2**0.5]
    assert logprob == pytest.approx(math.log(roots[token] / sum(roots)), abs=1e-6)


def test_top_k_keeps_the_likeliest_and_renormalises() -> None:
    # Of 1/2 and 1/4 alone, the first has 2/3.
    cut = cut_to_top(HALVES, torch.tensor([2]), torch.tensor([1.0]))
    assert cut[0].softmax(-1).tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0])


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.4, [1, 0, 0, 0]), (0.5, [1, 0, 0, 0]), (0.51, [2 / 3, 1 / 3, 0, 0]), (1.0, [1 / 2, 1 / 4, 1 / 8, 1 / 8])],
)
def test_top_p_keeps_the_fewest_tokens_that_reach_it(top_p: float, kept: list[float]) -> None:
    cut = cut_to_top(HALVES, torch.tensor([0]), torch.tensor([top_p]))
    assert cut[0].softmax(-1).tolist() == pytest.approx(kept)


def test_top_p_counts_its_mass_within_top_k() -> None:
    # Within the first two the masses are 2/3 and 1/3: 0.6 is reached by the first alone, which over all has only 1/2.
    cut = cut_to_top(HALVES, torch.tensor([2]), torch.tensor([0.6]))
    assert cut[0].softmax(-1).tolist() == pytest.approx([1, 0, 0, 0])


def test_a_nucleus_wider_than_the_candidates_is_found_by_sorting_everything() -> None:
    flat = torch.zeros(1, 5000)
    flat[0, 0] = 1e-3
    kept = cut_to_top(flat, torch.tensor([0]), torch.tensor([0.5])).isfinite().sum()
    assert kept == 5000  # 2,500 reach one half, and all 4,999 others are ties
    falling = -torch.arange(5000.0)[None] / 2000
    mass = falling.softmax(-1).cumsum(-1)[0]
    expected = int((mass < 0.9).sum()) + 1
    assert cut_to_top(falling, torch.tensor([0]), torch.tensor([0.9])).isfinite().sum() == expected > 1024


def test_what_is_drawn_has_the_frequencies_that_are_reported() -> None:
    draws = 4000
    counts = sampled_counts(Sampling(temperature=2.0, top_k=3), HALVES, draws)
    roots = [8**0.5, 4**0.5, 2**0.5, 2**0.5]  # the two last are a tie for third place, and ties stay
    for count, root in zip(counts, roots, strict=True):
        expected = root / sum(roots)
        assert abs(count / draws - expected) < 4 * (expected * (1 - expected) / draws) ** 0.5


def test_a_seeded_row_draws_the_same_whatever_its_neighbours_are() -> None:
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    alone = Sampler([SamplerRow(Sampling(seed=7))], CPU).sample(logits[:1].clone()).tokens[0]
    rows = [SamplerRow(s) for s in (Sampling(seed=7), Sampling(temperature=0.0), Sampling(top_p=0.5, seed=1))]
    assert Sampler(rows, CPU).sample(logits.clone()).tokens[0] == alone


def test_a_greedy_row_is_untouched_by_its_random_neighbours() -> None:
    rows = [SamplerRow(Sampling(temperature=0.0, wants_logprobs=True)), SamplerRow(Sampling(temperature=2.0, top_k=1))]
    sampled = Sampler(rows, CPU).sample(HALVES.expand(2, -1).clone())
    assert sampled.logprobs is not None
    assert sampled.tokens.tolist() == [0, 0]
    assert sampled.logprobs.tolist() == pytest.approx([math.log(1 / 2), 0.0], abs=1e-6)


def test_the_likeliest_alternatives_are_reported_under_the_same_distribution() -> None:
    sampled = Sampler([SamplerRow(Sampling(temperature=0.0, wants_logprobs=True, top_logprobs=2))], CPU).sample(HALVES)
    assert sampled.top_tokens is not None
    assert sampled.top_logprobs is not None
    assert sampled.top_tokens.tolist() == [[0, 1]]
    assert sampled.top_logprobs[0].tolist() == pytest.approx([math.log(1 / 2), math.log(1 / 4)])
