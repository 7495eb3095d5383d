"""The three configurations that are worth a name; each run stores the one it used, field by field."""

from dataclasses import replace

from worker.archer.config import ArcherConfig

FAITHFUL = ArcherConfig(
    gamma=0.95,
    critic_reader="policy",
    critic_encoding="split",
    train_reader=True,
    critic_ensemble=2,
    trace="none",
    value="sampled",
    pessimistic_targets=False,
    tau=0.1,
    critic_steps=50,
    critic_batch_turns=256,
    critic_weight_decay=0.0,
    held_out_share=0.0,
    critic_gate=None,
    probed_states=0,
    warmup_updates=10,
    actor_objective="reinforce",
    actor_advantage="critic",
    actor_utterances="fresh",
    actor_epochs=3,
    actor_batch_turns=256,
    normalise_advantages=False,
    kl_budget=None,
)
"""Zhou et al. 2024 as published: twin Q and V, one-step TD, V from fresh utterances, REINFORCE on fresh utterances
after ten updates of the critic alone; 50 critic and 3 actor steps of 256 turns an update. Without their code's faults:
end tokens are trained, gradients are means, each network clips its own, a cap on turns bootstraps. The critic reads
with the policy's model in place of RoBERTa."""

MODERN = ArcherConfig()
"""What an agent learns with unless it says otherwise: docs/algorithm.md has what each choice bought."""

OFFLINE = replace(
    MODERN,
    value="expectile",
    expectile=0.9,
    actor_objective="awr",
    actor_advantage="critic",
    awr_beta=1.0,
    normalise_advantages=False,
    kl_budget=None,
    critic_gate=None,
)
"""From logged conversations alone: V near the best logged reply, imitation weighted by exp(βA), nothing pushed down.
Kostrikov et al. 2021; Zhou et al. 2024, §4.4."""

PRESETS = {"faithful": FAITHFUL, "modern": MODERN, "offline": OFFLINE}
