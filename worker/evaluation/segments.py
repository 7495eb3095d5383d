"""An offline comparison by parts of what was logged: which reply it comes from, how long the talk was, which tag."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from core.storage.models.base import Json
from worker.archer.evidence import Evidence
from worker.archer.off_policy import effective_units, estimate
from worker.evaluation.verdict import FLOOR

LENGTHS = {"1": range(1, 2), "2-3": range(2, 4), "4-7": range(4, 8), "8+": range(8, 1_000_000)}
"""Turns of a conversation."""


def segments_of(evidence: Evidence, tags: Sequence[Mapping[str, object]], lengths: Sequence[int]) -> Json:
    """By place: what the version's own first reply brings with the stable one going on, and what its later ones do.
    By length and tag: the mean difference of the conversations that were so when they were logged.

    A part that is worth fewer end users than the floor has its count and no difference. A tag is named only if enough
    different end users have it: what a single one's conversations are marked with stays in them.
    """
    everything = torch.arange(len(evidence.unit))
    tagged: dict[str, list[int]] = defaultdict(list)
    for place, given in enumerate(tags):
        for key, value in given.items():
            tagged[f"{key}={value}"].append(place)
    by_length = {
        name: [place for place, turns in enumerate(lengths) if turns in bounds] for name, bounds in LENGTHS.items()
    }
    return {
        "place": {
            "first": _part(evidence, evidence.gains[:, 0], everything),
            "later": _part(evidence, evidence.gains[:, 1:].sum(dim=1), everything),
        },
        "turns": {
            name: _part(evidence, evidence.difference, torch.tensor(places))
            for name, places in by_length.items()
            if places
        },
        "tags": {
            name: _part(evidence, evidence.difference, torch.tensor(places))
            for name, places in sorted(tagged.items())
            if len(torch.unique(evidence.unit[places])) >= FLOOR
        },
    }


def _part(evidence: Evidence, value: Tensor, places: Tensor) -> Json:
    unit = evidence.unit[places]
    effective = effective_units(evidence.weight[places], unit)
    found = {"conversations": len(places), "effective_sample_size": effective}
    difference = estimate(value[places], unit)._asdict() if effective >= FLOOR else None
    return {**found, "difference": difference}
