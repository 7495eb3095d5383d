"""Every hyper-parameter of the algorithm; never read from the environment, stored as JSON with each run."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args, get_origin

ABOVE_ZERO = [
    "critic_lr",
    "reader_lr",
    "actor_lr",
    "max_advantage",
    "max_grad_norm",
    "clip_high",
    "awr_beta",
    "awr_max_weight",
]


class ConfigError(ValueError):
    """A hyper-parameter has no meaning as given; the message names it and says what would."""


@dataclass(frozen=True, slots=True)
class ArcherConfig:
    """What is learned and how hard; the line under each field says what raising it does."""

    gamma: float = 0.95
    """Discount a turn: higher lets early turns feel an outcome that came many turns later."""

    # What the critic is.

    critic_reader: Literal["policy", "encoder"] = "policy"
    """policy: the actor's own model under an adapter of the critic's. encoder: a small model of its own."""

    critic_encoding: Literal["joint", "split"] = "joint"
    """joint: Q reads the reply after its transcript. split: apart from it, as published."""

    train_reader: bool = False
    """True trains what reads (the critic's adapter, or the encoder): finer values, many times the critic's time."""

    reader_lr: float = 3e-4
    """Step of what reads, where it is trained: higher moves its features faster away from their pretraining."""

    max_encoder_tokens: int = 256
    """Longest text an encoder reads, cut on the left (the newest words stay): higher sees more, costs more."""

    critic_head: Literal["scalar", "two_hot", "binary"] = "scalar"
    """scalar: squared error. two_hot: classes over a range of values. binary: the chance of an outcome of 0 or 1."""

    critic_ensemble: int = 2
    """Members that each hold a Q and a V: more are surer of what they do not know, for a little time."""

    critic_hidden: int = 64
    """Width of the heads: higher can tell more states apart, and memorises more."""

    # What the critic learns towards.

    trace: Literal["none", "length_normalised", "full_product"] = "length_normalised"
    """How later turns reach a target: not at all (one step), by the mean token ratio, or by the whole reply's ratio."""

    lam: float = 0.5
    """λ of the traces: higher hears more of what really came, and less of what the critic thought would come."""

    value: Literal["weighted_mean", "expectile", "sampled"] = "weighted_mean"
    """What V is of Q: the mean over logged replies weighted by min(ρ, c), an expectile of them, or fresh replies'."""

    expectile: float = 0.9
    """Which expectile: 0.5 is the mean, higher nears the best logged reply. Only where value is expectile."""

    pessimistic_targets: bool = False
    """True takes the ensemble's least value in targets; False lets each member follow its own target, as published."""

    tau: float = 0.05
    """Polyak step of the targets after each critic step: higher follows faster and damps less; 1 copies."""

    critic_lr: float = 1e-3
    """Step of the heads: higher fits an update's turns sooner and forgets older ones sooner."""

    critic_weight_decay: float = 0.1
    """Pull of the critic's weights to zero: higher makes Q and V smoother over states nobody repeats."""

    critic_steps: int = 100
    """Optimiser steps of the critic an update: more carries a last turn's reward further back, and memorises more."""

    critic_batch_turns: int = 512
    """Turns in a critic step, in whole episodes: more gives a steadier gradient for more time."""

    # When the actor may trust it.

    held_out_share: float = 0.2
    """Share of the episodes, by their names, that the critic is measured on and never learns from; 0: on all."""

    critic_gate: float | None = 0.05
    """Least rank correlation of Q with held-out returns before the actor first moves; None does not ask."""

    probed_states: int = 4
    """States at which replies are sampled to see whether the critic tells them apart; 0 samples none."""

    warmup_updates: int = 0
    """Updates of the critic alone before the first of the actor, as published."""

    # What the actor does.

    actor_objective: Literal["reinforce", "clipped", "awr", "imitation"] = "clipped"
    """reinforce: A log π. clipped: within a trust region. awr: exp(βA) log π. imitation: of the best candidates."""

    actor_advantage: Literal["critic", "observed"] = "observed"
    """critic: Q - V, as published. observed: what came of a logged reply, less V; a fresh reply has Q alone."""

    actor_lam: float = 0.95
    """λ of an observed advantage: higher hears more of what really came, and of its luck. Only where observed."""

    actor_utterances: Literal["logged", "fresh"] = "logged"
    """logged: what was said, weighted by how likely it is now. fresh: sampled anew and judged by the critic."""

    leap_epochs: int = 0
    """Passes over the best fresh replies in the actor's first update, in place of actor_objective: more goes further
    on what few conversations taught the critic. 0 does not leap."""

    candidates: int = 4
    """Fresh utterances a state, of which imitation and a leap take the best one."""

    max_new_tokens: int = 32
    """Longest fresh utterance."""

    actor_lr: float = 3e-4
    """Step of the LoRA: higher changes the replies more an update, and spends the KL budget sooner."""

    actor_epochs: int = 2
    """Passes over the turns an update: more learns more from the same turns, further from the policy that spoke."""

    actor_batch_turns: int = 256
    """Turns in an actor step: more gives fewer and steadier steps."""

    clip_low: float = 0.2
    """How far below 1 a token's ratio to the start may go before its turn stops pushing. Only where clipped."""

    clip_high: float = 0.2
    """How far above 1, likewise: higher lets rare good tokens grow faster."""

    awr_beta: float = 1.0
    """Sharpness of exp(βA): higher trusts the critic more. Only where awr."""

    awr_max_weight: float = 20.0
    """Bound of exp(βA): higher lets a single turn weigh more."""

    normalise_advantages: bool = True
    """True divides advantages by their spread and centres them; False takes them in the rewards' unit, as published."""

    max_advantage: float = 3.0
    """Bound of a normalised advantage: higher lets a single exceptional turn weigh more."""

    max_importance_ratio: float = 2.0
    """Truncation c of π/μ, on tokens and on turns: higher is less biased and noisier on stale turns."""

    stale_negative_weight: float = 1.0
    """Weight of a bad turn that an older policy spoke: lower unlearns less of what nobody says any more."""

    scale_lr_by_ess: bool = False
    """True multiplies the actor's step by the effective sample size over the number of turns."""

    kl_coefficient: float = 0.0
    """Weight of the exact KL to the start in the actor's loss: higher holds replies closer; costs a forward pass."""

    kl_budget: float | None = 0.1
    """Nats a token the adapter may move from where it started: higher permits bolder updates; None never stops."""

    kl_check_share: float = 0.25
    """Share of the micro-batches measured again after the last step: higher makes the final KL surer and dearer."""

    token_baseline: bool = False
    """True subtracts from each token's advantage what its first tokens already promised: for long replies."""

    # What demonstrations do.

    demonstration_weight: float = 1.0
    """Weight of what humans demonstrate in the losses of actor and critic: higher imitates them sooner, and lets what
    came of other turns move less beside them. 0 leaves demonstrations out."""

    demonstration_margin: float = 0.5
    """By how much Q of a demonstrated reply should lie above that of what was said instead, in the rewards' scale:
    higher pushes the two further apart, and with them the values of replies that read like either."""

    # The shape of adapters and passes.

    lora_rank: int = 8
    """Rank of a fresh adapter: higher can change the model in more directions, in a larger file."""

    lora_alpha: int = 16
    """Scale of a fresh adapter: higher makes each step larger."""

    max_grad_norm: float = 1.0
    """Bound of each network's gradient norm: higher lets rare large gradients through."""

    max_tokens_per_microbatch: int = 1024
    """Tokens, padding included, in one forward pass: higher is faster until memory ends."""

    gradient_checkpointing: bool = False
    """True computes the policy's layers again in each backward pass: far less memory for one more forward pass."""

    max_prompt_tokens: int = 2048
    """Longest prompt kept, cut on the left: higher keeps more context at more time and memory."""

    max_completion_tokens: int = 2048
    """Longest reply that trains the actor; the critic reads so much of a longer one. Higher needs more memory."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            self._check_type(field.name, field.type)
        for name in ("tau", "kl_check_share"):
            self._check(name, 0 < getattr(self, name) <= 1, "above 0, at most 1")
        for name in ("gamma", "lam", "actor_lam", "stale_negative_weight"):
            self._check(name, 0 <= getattr(self, name) <= 1, "from 0 to 1")
        for name in ("expectile", "clip_low"):
            self._check(name, 0 < getattr(self, name) < 1, "between 0 and 1")
        self._check("held_out_share", 0 <= self.held_out_share < 1, "from 0 to below 1")
        for name in ("critic_weight_decay", "kl_coefficient", "demonstration_weight", "demonstration_margin"):
            self._check(name, getattr(self, name) >= 0, "0 or more")
        self._check("max_importance_ratio", self.max_importance_ratio >= 1, "1 or more")
        self._check("kl_budget", self.kl_budget is None or self.kl_budget > 0, "above 0, or null for no budget")
        gate = self.critic_gate
        self._check("critic_gate", gate is None or -1 <= gate <= 1, "from -1 to 1, or null to ask nothing")
        for name in ABOVE_ZERO:
            self._check(name, getattr(self, name) > 0, "above 0")
        self._check_counts()
        self._check_together()

    def _check_together(self) -> None:
        if self.actor_objective == "imitation":
            self._check("actor_utterances", self.actor_utterances == "fresh", "fresh where the objective is imitation")
        if self.token_baseline:
            self._check("critic_reader", self.critic_reader == "policy", "policy where token_baseline is true")

    def _check_counts(self) -> None:
        for field in dataclasses.fields(self):
            if field.type is int:
                least = 0 if field.name in ("warmup_updates", "probed_states", "leap_epochs") else 1
                self._check(field.name, getattr(self, field.name) >= least, f"{least} or more")

    def _check_type(self, name: str, kind: object) -> None:
        value = getattr(self, name)
        if get_origin(kind) is Literal:
            self._check(name, value in get_args(kind), " or ".join(get_args(kind)))
        elif kind is bool or kind is int:
            # bool is an int to Python; 3.0 epochs or True turns are a mistake of whoever wrote the file.
            self._check(name, type(value) is kind, "true or false" if kind is bool else "a whole number")
        elif value is not None or kind is float:
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            self._check(name, is_number, "a finite number")

    def _check(self, name: str, is_valid: bool, expected: str) -> None:
        if not is_valid:
            raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be {expected}.")

    def to_json(self) -> dict[str, bool | int | float | str | None]:
        """Every field by name, as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> "ArcherConfig":
        """The config with these fields, the others at their defaults; an unknown name is refused, not ignored."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(f"Unknown hyper-parameters: {', '.join(unknown)}. Known: {', '.join(sorted(known))}.")
        return cls(**values)  # type: ignore[arg-type] # __post_init__ checks each type at run time
