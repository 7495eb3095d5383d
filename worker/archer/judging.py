"""A judge of a policy that did not train it: fitted Q evaluation over frozen features, each end user judged by others.

Q is linear in what the base model makes of a reply in its place, V in what it makes of the place. Both are fitted in
closed form: what judges a version has no step size that could be tuned until it likes it.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worker.archer.returns import td_target
from worker.archer.ridge import Line, Ridge
from worker.archer.traces import carry_back

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Tried, strongest last; the returns of units that were left out say which is taken."""
FOLDS = 3


class Turns(NamedTuple):
    """Logged turns of whole conversations, one after another."""

    state: Float[Tensor, "turns width"]
    """Features of the place."""
    action: Float[Tensor, "turns width"]
    """Features of the reply in its place."""
    reward: Float[Tensor, "turns"]
    ends: Bool[Tensor, "turns"]
    weight: Float[Tensor, "turns"]
    """How much likelier the policy is to have come up to this reply, the reply included."""
    unit: Int[Tensor, "turns"]

    def take(self, turns: Tensor) -> "Turns":
        """These turns, whole conversations."""
        return Turns(*(column[turns] for column in self))


class Replies(NamedTuple):
    """What the policy itself said at some of the places."""

    state: Float[Tensor, "replies width"]
    action: Float[Tensor, "replies width"]
    weight: Float[Tensor, "replies"]
    """How much likelier the policy is to have come to the place."""
    unit: Int[Tensor, "replies"]

    def take(self, replies: Tensor) -> "Replies":
        """These replies."""
        return Replies(*(column[replies] for column in self))


class Judge(NamedTuple):
    """What the policy's replies and places are worth, within the range of the returns that came."""

    q_line: Line
    v_line: Line
    low: float
    high: float

    def q(self, action: Float[Tensor, "rows width"]) -> Float[Tensor, "rows"]:
        """Of replies."""
        return self.q_line(action).clamp(self.low, self.high)

    def v(self, state: Float[Tensor, "rows width"]) -> Float[Tensor, "rows"]:
        """Of places."""
        return self.v_line(state).clamp(self.low, self.high)


class Judgement(NamedTuple):
    """What judges who never heard of a unit make of its turns."""

    q: Float[Tensor, "turns"]
    v: Float[Tensor, "turns"]


def fit_judge(turns: Turns, replies: Replies, penalty: float) -> Judge:
    """Fitted Q evaluation: as many sweeps as the longest conversation has turns.

        Q ← argmin Σ (Q(s,a) - r - V(s'))²        V ← argmin Σ w (V(s) - Q(s,a))²

    Le et al. 2019, with ridge regressions as in Duan, Jia & Wang 2020; the first Q is of the returns that came. V is
    the mean of Q under the policy: over logged replies by w_t, over the policy's own by w_{t-1}. V's constant is free,
    so Σ_t w_{t-1} (V_t - E_π Q_t) is zero in expectation whatever Q is, and the doubly robust estimate asks no more of
    V. No value leaves the range of the returns that came: a sweep that would diverge is held there.
    """
    of_q = Ridge(turns.action, torch.ones_like(turns.weight), penalty)
    of_v = Ridge(torch.cat([turns.state, replies.state]), torch.cat([turns.weight, replies.weight]), penalty)
    action = torch.cat([turns.action, replies.action])
    came = returns_of(turns)
    low, high = came.min().item(), came.max().item()
    target = came
    for _ in range(_longest(turns.ends)):
        q = of_q.fit(target)
        judge = Judge(q, of_v.fit(q(action).clamp(low, high)), low, high)
        following = torch.roll(judge.v(turns.state), -1)
        target = td_target(turns.reward, following, (~turns.ends).double(), gamma=1.0)
    return judge


def choose_penalty(turns: Turns, generator: torch.Generator) -> float:
    """The penalty with which one half of the units foretells the returns of the other best."""
    half = folds_of(turns.unit, 2, generator)
    came = returns_of(turns)

    def error(penalty: float) -> float:
        total = 0.0
        for left_out in (half == 0, half == 1):
            learned = ~left_out
            line = Ridge(turns.action[learned], torch.ones_like(turns.weight[learned]), penalty).fit(came[learned])
            total += (line(turns.action[left_out]) - came[left_out]).square().sum().item()
        return total

    return min(PENALTIES, key=error)


class CrossFit:
    """Judges of one policy after another, each turn seen by one that was fitted without its unit. Chernozhukov et al.
    2018. Folds and penalties are the same for all, so that what judges make of two policies can be subtracted."""

    def __init__(self, turns: Turns, replies: Replies, generator: torch.Generator) -> None:
        self.turns = turns
        self.replies = replies
        fold = folds_of(torch.cat([turns.unit, replies.unit]), FOLDS, generator)
        self.of_turn, self.of_reply = fold[: len(turns.unit)], fold[len(turns.unit) :]
        self.penalties = {
            number: choose_penalty(turns.take(self.of_turn != number), generator)
            for number in torch.unique(self.of_turn).tolist()
        }

    def judge_policy(self) -> Judgement:
        """The policy that the weights are of, and that gave the replies."""
        return self._judge(self.turns, self.replies)

    def judge_logged(self) -> Judgement:
        """The policy that held the conversations."""
        none = self.replies.take(torch.zeros(0, dtype=torch.long))
        return self._judge(self.turns._replace(weight=torch.ones_like(self.turns.weight)), none, self.of_reply[:0])

    def _judge(self, turns: Turns, replies: Replies, of_reply: Tensor | None = None) -> Judgement:
        of_reply = self.of_reply if of_reply is None else of_reply
        q, v = torch.zeros_like(turns.reward), torch.zeros_like(turns.reward)
        for number, penalty in self.penalties.items():
            judged = self.of_turn == number
            judge = fit_judge(turns.take(~judged), replies.take(of_reply != number), penalty)
            q[judged], v[judged] = judge.q(turns.action[judged]), judge.v(turns.state[judged])
        return Judgement(q, v)


def folds_of(unit: Int[Tensor, "rows"], folds: int, generator: torch.Generator) -> Int[Tensor, "rows"]:
    """The fold of each row: by lot, as equal in units as can be, a unit's rows all in one."""
    units, place = torch.unique(unit, return_inverse=True)
    return (torch.randperm(len(units), generator=generator) % folds)[place]


def returns_of(turns: Turns) -> Float[Tensor, "turns"]:
    """What came from each turn to the end of its conversation."""
    return carry_back(turns.reward, torch.ones_like(turns.reward), turns.ends)


def _longest(ends: Bool[Tensor, "turns"]) -> int:
    last = ends.nonzero().flatten()
    return int(torch.diff(last, prepend=last.new_tensor([-1])).max())
