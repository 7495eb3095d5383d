"""What goes into the algorithm and what comes out; does not know where turns are stored or how text is rendered."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class TransitionError(ValueError):
    """A turn cannot be learned from as given; the message names the episode and says why."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One turn of one closed episode: (observation, utterance, reward, next observation)."""

    episode: str
    """Groups the turns; the turns of an episode are given together and in order."""
    observation: str
    """The transcript before the utterance."""
    utterance: str
    next_observation: str | None
    """The transcript after the user's next message; after the last turn, with the reply. None never bootstraps."""
    reward: float
    """The turn's effective reward; the conversation's own is already paid on its last turn."""
    terminal: bool
    """True: the episode ended here for good. False on a last turn: cut by a cap, so it bootstraps."""
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    """As the engine sampled them, end of sequence included; never text tokenised again."""
    behaviour_logprobs: tuple[float, ...]
    """log μ of each completion token under the distribution sampled from, temperature applied."""
    temperature: float
    trains_actor: bool
    """False: the critic learns from this turn, the actor does not."""
    conversation: str | None = None
    """Groups episodes that are held out from the critic together, since they share what was said; None: its own."""
    next_prompt_ids: tuple[int, ...] | None = None
    """next_observation as tokens; read after an episode's last turn alone, since before it the next prompt says so."""
    on_policy: bool = False
    """True: the very policy that the actor starts from sampled it, so μ needs no pass to measure."""
    weight: float = 1.0
    """How much it counts in the actor's steps: above 1 where conversations of its kind seldom get an outcome."""

    @property
    def held_out_by(self) -> str:
        """The name by which it is held out from the critic, or not."""
        return self.conversation or self.episode

    def __post_init__(self) -> None:
        if not math.isfinite(self.reward):
            raise self._error(f"its reward is {self.reward}")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise self._error(f"its weight is {self.weight}")
        if self.trains_actor:
            self._check_tokens()

    def _check_tokens(self) -> None:
        if not self.prompt_ids or not self.completion_ids:
            raise self._error("it trains the actor without prompt or completion tokens")
        if len(self.completion_ids) != len(self.behaviour_logprobs):
            raise self._error(f"{len(self.completion_ids)} tokens have {len(self.behaviour_logprobs)} log-probs")
        # A log-prob a hair above zero is the rounding of an engine that answers in half precision.
        if not all(math.isfinite(logprob) and logprob <= 1e-3 for logprob in self.behaviour_logprobs):
            raise self._error("a behaviour log-prob is not finite or is positive")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise self._error(f"temperature {self.temperature} samples nothing that a policy gradient can use")

    def _error(self, reason: str) -> TransitionError:
        return TransitionError(f"A turn of episode {self.episode!r} cannot be learned from: {reason}.")


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What a human says should have been said at a logged turn; nobody sampled it, so it has no log-probs."""

    episode: str
    """The one that the turn is of, for errors and for what is held out."""
    observation: str
    prompt_ids: tuple[int, ...]
    utterance: str
    """The demonstrated reply."""
    completion_ids: tuple[int, ...]
    """Its tokens, end of sequence included."""
    instead: str
    """The logged reply, in whose place it should have been given."""
    instead_ids: tuple[int, ...]
    conversation: str | None = None

    @property
    def held_out_by(self) -> str:
        """The name by which it is held out from the critic, or not, as the turn is."""
        return self.conversation or self.episode

    @property
    def contradicts(self) -> bool:
        """Whether it says that another reply would have been better, and not that the logged one was right."""
        return self.utterance != self.instead and bool(self.instead_ids)

    def __post_init__(self) -> None:
        if not self.prompt_ids or not self.completion_ids:
            raise TransitionError(f"A demonstration of {self.episode!r} is without prompt or completion tokens.")


class TokenBatch(NamedTuple):
    """One micro-batch of the actor: whole rows, and one entry for each token that is trained."""

    ids: Int[Tensor, "rows length"]
    predicts: Bool[Tensor, "rows length"]
    """True where the next token is trained; its logits come out flat, row after row."""
    targets: Int[Tensor, "tokens"]
    table: Int[Tensor, "tokens"]
    """Each trained token's place in the TokenTable."""


class TokenTable(NamedTuple):
    """Every completion token of the turns that train the actor, turn after turn."""

    turn: Int[Tensor, "tokens"]
    temperature: Float[Tensor, "tokens"]
    behaviour_logprobs: Float[Tensor, "tokens"]
    weight: Float[Tensor, "tokens"]
    """Its turn's, in the actor's steps."""


class Features(NamedTuple):
    """What a critic read of some turns, in their order."""

    observation: Float[Tensor, "turns state"]
    action: Float[Tensor, "turns action"]
    following: Float[Tensor, "turns state"]
    """Of the next observation; zeros where none is known, and wherever nobody asked for it."""

    def take(self, turns: Sequence[int]) -> "Features":
        """Of these turns alone."""
        place = torch.tensor(turns, device=self.observation.device)
        return Features(*(column[place] for column in self))


@dataclass(frozen=True, slots=True)
class CriticFigures:
    """What the critic's steps did."""

    steps: int
    loss: float
    """J_Q + J_V of the last step, in units of the rewards' scale squared, and J_E where there are demonstrations."""
    grad_norm: float
    """Mean over the steps, before clipping."""
    explained_variance_before: float | None
    """Of the Monte-Carlo returns by min(Q₁, Q₂), before the critic saw these turns; None if all returns are equal."""
    explained_variance: float | None
    advantage_mean: float
    advantage_sd: float
    advantage_positive_share: float
    held_out_turns: int
    """The turns that the four figures below are of: those the critic never learned from, or all where none is kept."""
    rank_correlation: float | None
    """Of Q with what came; what critic_gate asks for."""
    held_out_explained_variance: float | None
    calibration_error: float | None
    twin_gap: float | None
    advantage_spread: float | None
    """How much replies sampled at one state differ in Q, in sd of Q over states; None where none were sampled."""
    mean_trace_length: float
    """Turns whose rewards reach a turn through the traces; 0 is one step."""


@dataclass(frozen=True, slots=True)
class ActorFigures:
    """What the actor's steps did. Ratios are of its first pass: the start policy against the one that spoke."""

    steps: int
    steps_kept: int
    """Fewer than were taken where the KL budget had the last ones undone."""
    loss: float
    grad_norm: float
    """Mean over the steps, before clipping."""
    importance_ratio_mean: float
    importance_ratio_max: float
    importance_truncated_share: float
    effective_sample_size: float
    """In turns, of the truncated length-normalised turn ratios."""
    kl_at_start: float
    """Between the start policy as logged and as computed here: an engine's rounding, zero in theory."""
    kl_to_start: float
    """After the last step kept, on a share of the turns, in nats a token."""
    stopped_by_kl: bool
    """The budget ended the update early; the adapter is the last one measured within it."""
    tokens_trained: int
    """Completion tokens that went through forward and backward, counted once a pass."""


@dataclass(frozen=True, slots=True)
class DemonstrationFigures:
    """What was made of demonstrations."""

    imitated: int
    too_long: int
    """Those left out, because their replies were longer than max_completion_tokens."""
    only_these: str | None
    """Why the actor followed nothing but demonstrations; None where it followed its objective too, or stayed."""
    logprob_before: float | None
    """Of a demonstrated token at the update's start, a mean of the replies' means; None where all were too long."""
    logprob: float | None
    """The same after the update."""
    taught_critic: int
    """Those that say another reply would have been better, at turns that are not held out from the critic."""
    ranked_above_before: float | None
    """Share of the replies that Q put above what was said instead, before it learned; None where none contradicts."""
    ranked_above: float | None
    """The same after the update."""
    held_out_ranked_above: float | None
    """The same of held-out conversations alone, whose demonstrations the critic never learns from."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one update did, in JSON's own types."""

    turns: int
    actor_turns: int
    episodes: int
    rows: int
    """Sequences the actor read: turns whose prompts grow from one another share one."""
    prompts_cut: int
    replies_too_long: int
    """Turns that trained the critic only, because their replies were longer than max_completion_tokens."""
    texts_cut: int
    """Texts (or turns) of which the critic read less than there was."""
    critic: CriticFigures
    actor: ActorFigures | None
    demonstrations: DemonstrationFigures | None
    """None where none were given, or demonstration_weight is 0."""
    actor_leapt: bool
    """The actor imitated the best fresh replies, as leap_epochs asks of one update."""
    actor_skipped: str | None
    """Why the actor was left as it was; None if it was updated."""
    tokens_per_second: float
    """Tokens trained over the seconds of the whole update."""
    seconds: dict[str, float]
    peak_memory_bytes: int

    def to_json(self) -> dict[str, object]:
        """The same as one JSON object."""
        return dataclasses.asdict(self)
