"""What a run writes down about itself."""

import math

from worker.training import as_json


def test_numbers_that_json_has_no_word_for_become_none() -> None:
    figures = {"loss": math.nan, "ratio": {"max": math.inf, "mean": 1.5}, "turns": 3, "reason": None, "ok": True}
    assert as_json(figures) == {
        "loss": None,
        "ratio": {"max": None, "mean": 1.5},
        "turns": 3,
        "reason": None,
        "ok": True,
    }
