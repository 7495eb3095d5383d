"""Who may join the running batch next; knows no thread and no tensor."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from engine.generation import Generation


@dataclass(frozen=True, slots=True)
class SchedulerLimits:
    """How much may happen at once."""

    max_num_seqs: int
    """Rows of the running batch. More: more tokens a second in all, fewer for each."""
    max_waiting: int
    """Requests that wait for a row. More: longer waits instead of 503."""
    max_loras: int
    """Adapters that one batch may mix. More: fewer waits among many versions, a little more arithmetic a step."""
    max_batched_tokens: int
    """Padded prompt tokens of one prefill. More: faster prefill, longer pauses for those who decode."""
    max_cached_tokens: int
    """Rows times columns of the cache. More: more memory."""


def choose_joining(
    running: Sequence[Generation], waiting: deque[Generation], limits: SchedulerLimits
) -> list[Generation]:
    """Take from the head of the line as many as fit: first come, first served, so that nobody starves."""
    joining: list[Generation] = []
    while waiting and len(running) + len(joining) < limits.max_num_seqs:
        together = [*running, *joining, waiting[0]]
        if len(together) > 1 and not fits(together, limits):
            break
        prompts = [len(generation.prompt_ids) for generation in (*joining, waiting[0])]
        if joining and len(prompts) * max(prompts) > limits.max_batched_tokens:
            break
        joining.append(waiting.popleft())
    return joining


def fits(together: Sequence[Generation], limits: SchedulerLimits) -> bool:
    """Whether these could all grow to their full length in one batch."""
    adapters = {generation.adapter for generation in together if generation.adapter is not None}
    columns = max(generation.longest for generation in together)
    return len(adapters) <= limits.max_loras and len(together) * columns <= limits.max_cached_tokens
