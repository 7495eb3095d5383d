"""When the outcome of a conversation that has ended counts as known; time is an argument."""

from collections.abc import Sequence
from datetime import timedelta

from core.domain.conversations import ConversationState
from core.domain.metrics import REWARD, Metric
from core.domain.rewards import Fold


def state_after(folded: Fold, metrics: Sequence[Metric], waited: timedelta) -> ConversationState:
    """The state of a conversation that ended so long ago.

    It is matured once every required metric that counts has a value (any metric, where none is required), or once
    every window has passed and there is some value; with none it is then expired. Until then it awaits one.
    """
    required = {metric.name for metric in metrics if metric.counts and metric.required}
    if required <= folded.metrics if required else folded.metrics:
        return ConversationState.MATURED
    if any(waited < _window(metric) for metric in _counting(metrics)):
        return ConversationState.AWAITING
    return ConversationState.MATURED if folded.metrics else ConversationState.EXPIRED


def next_change(
    folded: Fold, metrics: Sequence[Metric], waited: timedelta, state: ConversationState
) -> timedelta | None:
    """How long after the end time alone may next change the state or the reward; None if it never will."""
    coming = _counting(metrics)
    if state is not ConversationState.AWAITING:
        coming = [metric for metric in coming if metric.missing is not None and metric.name not in folded.metrics]
    return min((window for window in map(_window, coming) if window > waited), default=None)


def _counting(metrics: Sequence[Metric]) -> list[Metric]:
    """The metrics that enter the reward; an agent that declares none has `reward`."""
    return [metric for metric in metrics if metric.counts] or [REWARD]


def _window(metric: Metric) -> timedelta:
    return timedelta(seconds=metric.window_seconds)
