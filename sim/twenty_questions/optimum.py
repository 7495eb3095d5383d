"""The best that any player can do, by dynamic programming; for tables small enough to count all subsets of."""

from functools import cache

from sim.twenty_questions.table import Table

COUNTABLE = 12
"""Up to so many words this takes seconds; each further word may double it."""


def best_mean_return(table: Table) -> float:
    """Mean return over the hidden words of the player who loses least.

        C(S) = min over questions of   |S| + C(S ∩ yes) + C(S - yes)          asking costs each word of S a turn
               min over guesses w of   |S| - 1 + C(S - {w})                   the word that is guessed costs nothing
        C({w}) = 0

    S is what is still possible; the mean return is -C(all) / words. Exact where the cap on turns is never reached.
    """
    splits = {frozenset(yes) for yes in table.questions.values()}

    @cache
    def cost(possible: frozenset[int]) -> float:
        if len(possible) <= 1:
            return 0.0
        best = min(len(possible) - 1 + cost(possible - {word}) for word in possible)
        for yes in splits:
            inside = possible & yes
            if inside and inside != possible:
                best = min(best, len(possible) + cost(inside) + cost(possible - yes))
        return best

    words = frozenset(range(len(table.names)))
    return -cost(words) / len(words)
