"""Finds products by words, with BM25; knows no customer."""

from collections.abc import Sequence
from functools import lru_cache

import bm25s
import numpy as np

from sim.shop.products import catalogue

SHOWN = 3
"""Results of a search."""


@lru_cache
def _index() -> bm25s.BM25:
    index = bm25s.BM25()
    index.index([list(product.words) for product in catalogue()], show_progress=False)
    return index


def search(words: Sequence[str]) -> list[int]:
    """The places in the catalogue of the products that fit the words best, at most SHOWN; of equals the first.

    A word counts once, one that no product has does not count; without any there is no result.
    """
    index = _index()
    known = [word for word in dict.fromkeys(words) if word in index.vocab_dict]
    if not known:
        return []
    scores = index.get_scores(known)
    best = np.argsort(-scores, kind="stable")[:SHOWN]
    return [int(place) for place in best if scores[place] > 0]
