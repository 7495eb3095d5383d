"""Q and V over given features, an ensemble of each, in one of three forms; knows neither texts nor tokens."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worker.archer.config import ArcherConfig
from worker.archer.distributions import binary_loss, expected_value, two_hot_loss
from worker.archer.types import Features

FLAT = 1e-6
"""A feature that varies by less, beside its size, says nothing and is left as it is."""
BINS = 51
REACH = 5.0
"""A two-hot head's places lie within so many standard deviations of the first returns' mean."""


class ValueHead(nn.Module):
    """Standardised features to the logits of one value: one hidden layer."""

    mean: Tensor
    spread: Tensor

    def __init__(self, width: int, hidden: int, outputs: int) -> None:
        super().__init__()
        last = nn.Linear(hidden, outputs)
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), last)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        # Start at the zero of the unit exactly: before anything is learned no reply is better than another.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, features: Float[Tensor, "batch width"]) -> Float[Tensor, "batch outputs"]:
        """The logits of each row."""
        logits: Tensor = self.layers((features - self.mean) / self.spread)
        return logits

    def standardise(self, features: Float[Tensor, "batch width"]) -> None:
        """Take each feature's zero and unit from these rows.

        What all texts of a model share is most of its hidden state; what tells two replies apart is a small part, and
        an optimiser would take very long to find it there.
        """
        spread = features.std(dim=0, correction=0)
        self.mean.copy_(features.mean(dim=0))
        self.spread.copy_(torch.where(spread > FLAT * (1 + self.mean.abs()), spread, torch.ones_like(spread)))


class ValueHeads(nn.Module):
    """The ensemble, in the rewards' own unit through one shift and scale.

    scalar: the logit is the value. two_hot: the value is the mean of a distribution over BINS places. binary: the value
    is shift + scale · sigmoid(logit), so what it can say ends where the first returns ended.
    """

    shift: Tensor
    scale: Tensor
    is_calibrated: Tensor
    bins: Tensor

    def __init__(self, state_width: int, action_width: int, config: ArcherConfig) -> None:
        super().__init__()
        self.kind = config.critic_head
        self.state_width, self.action_width, self.hidden = state_width, action_width, config.critic_hidden
        outputs = BINS if self.kind == "two_hot" else 1
        members = range(config.critic_ensemble)
        self.q = nn.ModuleList(ValueHead(action_width, config.critic_hidden, outputs) for _ in members)
        self.v = nn.ModuleList(ValueHead(state_width, config.critic_hidden, outputs) for _ in members)
        self.register_buffer("shift", torch.tensor(0.0))
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("is_calibrated", torch.tensor(False))
        self.register_buffer("bins", torch.linspace(-REACH, REACH, BINS))

    @torch.no_grad()
    def calibrate(self, features: Features, returns: Float[Tensor, "turns"]) -> None:
        """Take units and zeros from the first turns ever seen, once: a score of 1 to 100 learns as fast as a thumb."""
        if self.is_calibrated:
            return
        for heads, read in ((self.q, features.action), (self.v, features.observation)):
            for head in heads:
                assert isinstance(head, ValueHead)
                head.standardise(read)
        if self.kind == "binary":
            zero, spread = returns.min(), returns.max() - returns.min()
        else:
            zero, spread = returns.mean(), returns.std(correction=0)
        size = returns.abs().mean()
        self.shift.copy_(zero)
        self.scale.copy_(spread if spread > 1e-6 * (1 + size) else (size if size > 0 else torch.ones_like(size)))
        self.is_calibrated.fill_(True)

    def q_logits(self, features: Float[Tensor, "batch width"]) -> Float[Tensor, "ensemble batch outputs"]:
        """What each Q says, before it is read as a value."""
        return torch.stack([head(features) for head in self.q])

    def v_logits(self, features: Float[Tensor, "batch width"]) -> Float[Tensor, "ensemble batch outputs"]:
        """What each V says, before it is read as a value."""
        return torch.stack([head(features) for head in self.v])

    def value(self, logits: Float[Tensor, "ensemble batch outputs"]) -> Float[Tensor, "ensemble batch"]:
        """The values that logits stand for, in the rewards' unit."""
        if self.kind == "two_hot":
            normalised = expected_value(logits, self.bins)
        else:
            normalised = logits.squeeze(-1).sigmoid() if self.kind == "binary" else logits.squeeze(-1)
        return self.shift + self.scale * normalised

    def error(
        self, logits: Float[Tensor, "ensemble batch outputs"], target: Float[Tensor, "ensemble batch"]
    ) -> Float[Tensor, "ensemble batch"]:
        """What each turn's logits lose against a target in the rewards' unit; without unit, so that steps are alike."""
        wanted = (target.detach() - self.shift) / self.scale
        if self.kind == "two_hot":
            return two_hot_loss(logits, wanted, self.bins)
        if self.kind == "binary":
            return binary_loss(logits.squeeze(-1), wanted)
        return (logits.squeeze(-1) - wanted).square()
