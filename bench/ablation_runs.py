"""The ablations: the default without its leap, and that with one switch turned, by name."""

from dataclasses import replace
from typing import Any

from bench.runs import WITHOUT_LEAP, Compared, archer

SWITCHES: dict[str, dict[str, Any]] = {
    "split-encoding": {"critic_encoding": "split"},
    "one-step": {"trace": "none"},
    "full-product": {"trace": "full_product", "lam": 0.95},
    "expectile-value": {"value": "expectile", "expectile": 0.9},
    "sampled-value": {"value": "sampled"},
    "critics-advantage": {"actor_advantage": "critic"},
    "reinforce": {"actor_objective": "reinforce"},
    "awr": {"actor_objective": "awr"},
    "imitation": {"actor_objective": "imitation", "actor_utterances": "fresh"},
    "kl-budget-0.005": {"kl_budget": 0.005},
    "kl-budget-none": {"kl_budget": None},
    "one-member": {"critic_ensemble": 1},
    "five-members": {"critic_ensemble": 5},
    "lambda-0.95": {"lam": 0.95},
    "actor-lambda-0.8": {"actor_lam": 0.8},
    "no-stale-negatives": {"stale_negative_weight": 0.0},
    "no-normalisation": {"normalise_advantages": False},
    "no-gate": {"critic_gate": None, "held_out_share": 0.0},
    "pessimistic-targets": {"pessimistic_targets": True},
    "two-hot": {"critic_head": "two_hot"},
    "trained-reader": {"train_reader": True},
}
STALENESS = (1, 4, 16)
# Small updates, or sixteen versions would be most of the budget.
STALE: dict[str, Any] = {"per_step": 32, "replay": 64}

ABLATIONS: dict[str, Compared] = {
    "without-leap": archer(WITHOUT_LEAP),
    **{f"with-{name}": archer(replace(WITHOUT_LEAP, **changes)) for name, changes in SWITCHES.items()},
    "cut-is-end": archer(WITHOUT_LEAP, cut_is_end=True),
    "read-at-the-end": archer(WITHOUT_LEAP, foresees=False),
    "paid-at-end": archer(WITHOUT_LEAP, paid_at_end=True),
    "paid-at-end-one-step": archer(replace(WITHOUT_LEAP, trace="none"), paid_at_end=True),
    "stale-0": archer(WITHOUT_LEAP, **STALE),
    **{f"stale-{versions}": archer(WITHOUT_LEAP, **STALE, staleness=versions) for versions in STALENESS},
    **{
        f"stale-{versions}-unweighted": archer(WITHOUT_LEAP, **STALE, staleness=versions, is_weighted=False)
        for versions in STALENESS
    },
}
