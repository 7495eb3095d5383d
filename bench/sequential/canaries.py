"""Simulated canaries: whom the ramp sends where, who is compared with whom, and what is told of them."""

from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from core.domain.sequential.pairing import Pairing

RAMP = (0.01, 0.05, 0.25, 0.5)
STAGE = 50
"""Canary units after which the next stage begins; the last goes on."""
BASE, GUARD_BASE, MARGIN = 0.5, 0.8, 0.05
BREADTH = 4.0
"""Of the beta distributions: 2 and 2 is a broad hill in the middle."""

Floats = NDArray[numpy.float64]
Integers = NDArray[numpy.int64]


@dataclass(frozen=True, slots=True)
class Composition:
    """One canary's units, by place, and its differences: the places of canaries and of stables, and which unit each was
    complete with."""

    is_canary: NDArray[numpy.bool_]
    propensity: Floats
    canary_of: Integers
    stables_of: Integers
    first_stable: Integers
    complete_at: Integers

    def differences(self, values: Floats) -> Floats:
        """Each canary's value less the mean of those beside it."""
        beside = numpy.diff(self.first_stable, append=len(self.stables_of))
        means = numpy.add.reduceat(values[self.stables_of], self.first_stable) / beside
        return numpy.asarray(values[self.canary_of] - means)

    def canaries_until(self, place: int) -> int:
        """Canary units up to this place, itself included."""
        return int(self.is_canary[: place + 1].sum())


def compose(canaries: int, chance: numpy.random.Generator) -> Composition:
    """Arms by the ramp until so many canary units, and the core's pairing of them."""
    needed = [*[STAGE] * (len(RAMP) - 1), canaries - STAGE * (len(RAMP) - 1)]
    arms, weights = [], []
    for weight, count in zip(RAMP, needed, strict=True):
        waits = chance.geometric(weight, size=count)
        stage = numpy.zeros(waits.sum(), dtype=bool)
        stage[waits.cumsum() - 1] = True
        arms.append(stage)
        weights.append(numpy.full(len(stage), weight))
    is_canary, propensity = numpy.concatenate(arms), numpy.concatenate(weights)
    pairing, first, complete = Pairing(), list[int](), list[int]()
    canary_of, stables_of = list[float](), list[float]()
    for place, (arm, weight) in enumerate(zip(is_canary.tolist(), propensity.tolist(), strict=True)):
        compared = pairing.enter(is_canary=arm, propensity=weight, value=place)
        if compared is not None:
            canary_of += compared[0]
            first.append(len(stables_of))
            stables_of += compared[1]
            complete.append(place)
    places = [numpy.array(each, dtype=numpy.int64) for each in (canary_of, stables_of, first, complete)]
    return Composition(is_canary, propensity, *places)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is true of a canary, and how the values of reward and guard are spread about it."""

    name: str
    reward_effect: float = 0.0
    guard_effect: float = 0.0
    spread: str = "bernoulli"
    swing: float = 0.0
    """How far the reward of both arms goes up and down."""
    period: int = 1_000
    """Units from one height to the next."""

    @property
    def is_bounded(self) -> bool:
        """Whether its metrics declare a range."""
        return self.spread != "exponential"

    def draw(self, composition: Composition, chance: numpy.random.Generator) -> tuple[Floats, Floats]:
        """The reward and the guard of every unit."""
        arms = composition.is_canary.astype(float)
        tide = self.swing * numpy.sin(2 * numpy.pi * numpy.arange(len(arms)) / self.period)
        reward, guard = BASE + tide + self.reward_effect * arms, GUARD_BASE + self.guard_effect * arms
        return self._values(reward, chance), self._values(guard, chance)

    def _values(self, means: Floats, chance: numpy.random.Generator) -> Floats:
        if self.spread == "bernoulli":
            return (chance.random(len(means)) < means).astype(float)
        if self.spread == "beta":
            return chance.beta(BREADTH * means, BREADTH * (1 - means))
        return chance.exponential(means)
