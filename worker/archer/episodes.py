"""Turns seen as episodes: where one ends, and whether anything can be learned."""

from collections.abc import Sequence

from worker.archer.types import Transition, TransitionError


def episode_ends(transitions: Sequence[Transition]) -> list[bool]:
    """True at the last turn of each episode; an episode whose turns are not together is refused."""
    names = [transition.episode for transition in transitions]
    ends = [place + 1 == len(names) or names[place + 1] != name for place, name in enumerate(names)]
    if sum(ends) != len(set(names)):
        raise TransitionError(
            "The turns of an episode must be given together: an episode's name comes back after another's."
        )
    return ends


def reason_to_leave_actor(transitions: Sequence[Transition], ends: Sequence[bool]) -> str | None:
    """Why nothing in these turns says which replies were better; None if something may.

    Rewards say nothing if every episode sums to the same, all last turns earned alike and so did all others: then
    returns differ by discount alone. One episode has nothing to be compared with, whatever its turns earned.
    """
    if not any(transition.trains_actor for transition in transitions):
        return "no turn trains the actor"
    if sum(ends) < 2:
        return "a single episode has nothing to be compared with"
    totals: dict[str, float] = {}
    for transition in transitions:
        totals[transition.episode] = totals.get(transition.episode, 0.0) + transition.reward
    last = {transition.reward for transition, is_last in zip(transitions, ends, strict=True) if is_last}
    earlier = {transition.reward for transition, is_last in zip(transitions, ends, strict=True) if not is_last}
    if len(set(totals.values())) == 1 and len(last) == 1 and len(earlier) <= 1:
        return "all episodes were rewarded alike"
    return None
