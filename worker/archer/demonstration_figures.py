"""What an update made of its demonstrations, in figures: how likely they became, and how the critic ranks them."""

from worker.archer.cloning import Cloning
from worker.archer.diagnostics import positive_share
from worker.archer.types import DemonstrationFigures
from worker.archer.valuing import Valuing


def describe_demonstrations(
    given: int, cloning: Cloning | None, valuing: Valuing, only_these: str | None
) -> DemonstrationFigures:
    """The figures of so many given. Call it after the update, whose networks it reads with."""
    imitated = 0 if cloning is None else len(cloning.turns)
    contrasts, before, after = valuing.contrasts, valuing.lead_before, valuing.lead()
    held_out = [] if contrasts is None else contrasts.held_out
    return DemonstrationFigures(
        imitated=imitated,
        too_long=given - imitated,
        only_these=only_these,
        logprob_before=None if cloning is None else cloning.logprob_before,
        logprob=None if cloning is None else cloning.logprob(),
        taught_critic=0 if contrasts is None else len(contrasts.learned),
        ranked_above_before=None if before is None else positive_share(before),
        ranked_above=None if after is None else positive_share(after),
        held_out_ranked_above=positive_share(after[held_out]) if after is not None and held_out else None,
    )
