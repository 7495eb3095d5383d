"""Least squares with a penalty, solved once and then asked for many targets; knows no turns."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

FLAT = 1e-6
"""A feature that varies by less, beside its size, says nothing."""


class Line(NamedTuple):
    """A linear function of features."""

    slope: Float[Tensor, "width"]
    at_zero: Float[Tensor, ""]

    def __call__(self, features: Float[Tensor, "rows width"]) -> Float[Tensor, "rows"]:
        return features.double() @ self.slope + self.at_zero


class Ridge:
    """Weighted ridge regression on given features.

        (b, θ) = argmin Σ_i w_i (y_i - b - θ·z_i)² / Σ_i w_i + penalty · |θ|²        z standardised, b free

    The constant is not punished, so that the weighted mean of what is left over is zero. In float64 and in closed form:
    the same turns give the same judge.
    """

    def __init__(self, features: Float[Tensor, "rows width"], weight: Float[Tensor, "rows"], penalty: float) -> None:
        features, weight = features.double(), weight.double()
        self.share = weight / weight.sum()
        self.mean = self.share @ features
        spread = (self.share @ (features - self.mean).square()).sqrt()
        # Infinite: its z is zero, and so is what it is given.
        flat = spread <= FLAT * (1 + self.mean.abs())
        self.spread = torch.where(flat, torch.full_like(spread, torch.inf), spread)
        z = (features - self.mean) / self.spread
        self.weighted = z.T * self.share
        eye = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
        self.factor = torch.linalg.cholesky(self.weighted @ z + penalty * eye)

    def fit(self, target: Float[Tensor, "rows"]) -> Line:
        """The line for this target."""
        target = target.double()
        mean = self.share @ target
        right = (self.weighted @ (target - mean)).unsqueeze(1)
        slope = torch.cholesky_solve(right, self.factor).squeeze(1) / self.spread
        return Line(slope, mean - slope @ self.mean)
