"""CHAI: a policy that never moves says the best of several replies, as an utterance-level critic finds them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bench.methods.method import Figures
from bench.methods.reinforce import SHAPE
from bench.methods.replaying import ReplayingMethod
from bench.playing.games import Played
from bench.playing.reranked import play_reranked
from bench.playing.transitions import transitions_of
from sim.task import Task
from worker.archer.actor import Actor
from worker.archer.config import ArcherConfig
from worker.archer.critic import build_critic
from worker.archer.learner import Learner
from worker.archer.presets import FAITHFUL
from worker.archer.speaker import Utterance
from worker.archer.types import Transition

FOR_EVER = 10**9


@dataclass(frozen=True, slots=True)
class ChaiConfig:
    """What is chosen from, and how the critic learns."""

    candidates: int = 5
    """Replies sampled a turn: more find better ones, and more that the critic merely errs about."""
    critic_lr: float = 1e-3
    """Step of the heads."""
    reader_lr: float = 1e-3
    """Step of the critic's adapter."""
    critic_steps: int = 50
    """Steps of both an update: more carries a last turn's reward further back."""
    replay: int = 600
    """Newest games that an update reads: more are of older critics' choice."""
    per_step: int = 128
    """Games between two updates."""


def critic_config(config: ChaiConfig) -> ArcherConfig:
    """The faithful preset's critic, with V the mean over what was said.

    That is what the paper means by V: the value under the policy that acts, and here the acting one chooses. A fresh
    reply of the actor alone would be another policy's. The warm-up that never ends is what keeps the actor as it is.
    """
    return replace(
        FAITHFUL,
        lora_rank=SHAPE.lora_rank,
        lora_alpha=SHAPE.lora_alpha,
        max_tokens_per_microbatch=SHAPE.max_tokens_per_microbatch,
        critic_lr=config.critic_lr,
        reader_lr=config.reader_lr,
        critic_steps=config.critic_steps,
        value="weighted_mean",
        warmup_updates=FOR_EVER,
    )


class Chai(ReplayingMethod):
    """Best of `candidates` by min(Q̄₁, Q̄₂), the first of equals. Verma et al. 2022, as in Zhou et al. 2024."""

    def __init__(self, policy: Path, config: ChaiConfig, *, seed: int) -> None:
        learns = critic_config(config)
        actor = Actor.from_pretrained(policy, learns, seed=seed)
        super().__init__(
            Learner(actor, build_critic(actor, None, learns, seed=seed), learns, seed=seed), config.per_step
        )
        self.config = config

    @property
    def player(self) -> PreTrainedModel:
        """There is none: a model that plays without its critic is not CHAI, and would be measured as if it were."""
        raise TypeError("CHAI is no model alone; it plays by `play`.")

    def play(
        self,
        tokenizer: PreTrainedTokenizerBase,
        task: Task,
        seeds: Sequence[int],
        *,
        generator: torch.Generator,
        max_new_tokens: int,
    ) -> list[Played]:
        """Each seed's game to its end."""
        return play_reranked(
            self.actor.model,
            tokenizer,
            task,
            seeds,
            candidates=self.config.candidates,
            choose=lambda prompts, sampled: self.judge(prompts, sampled).argmax(dim=1).tolist(),
            generator=generator,
            max_new_tokens=max_new_tokens,
        )

    @torch.no_grad()
    def judge(self, prompts: Sequence[Sequence[int]], sampled: Sequence[Sequence[Utterance]]) -> Tensor:
        """min(Q̄₁, Q̄₂) of each reply to each prompt, of shape (prompts, replies)."""
        target, each = self.learner.target, len(sampled[0])
        states = [_turn(prompt, said[0].ids) for prompt, said in zip(prompts, sampled, strict=True)]
        # Split, a reply is read apart from its transcript: one token stands for that, and each state is read once.
        replies = [
            _turn(prompt[-1:], reply.ids) for prompt, said in zip(prompts, sampled, strict=True) for reply in said
        ]
        reader = target.reader
        with reader.active():
            observation = reader.read(reader.index(states), range(len(states)), following=False).observation
            alone = reader.read(reader.index(replies), range(len(replies)), following=False).action
        alone = alone[:, reader.state_width :]
        action = torch.cat([observation.repeat_interleave(each, dim=0), alone], dim=1)
        return target.heads.value(target.heads.q_logits(action)).amin(dim=0).view(-1, each)

    def learn(self, played: Sequence[Played]) -> Figures:
        """One update of the critic on the newest games."""
        self.kept = [*self.kept, *played][-self.config.replay :]
        # The log-probs are those of an actor that never moves, so every ratio to it is 1.
        turns = [turn for game in self.kept for turn in transitions_of(game, on_policy=True)]
        figures = self.learner.update(turns)
        critic = figures.critic
        return {
            "skipped": figures.actor_skipped,
            "critic_loss": critic.loss,
            "explained_variance": critic.held_out_explained_variance,
            "rank_correlation": critic.rank_correlation,
            "advantage_sd": critic.advantage_sd,
            **{f"seconds: {phase}": seconds for phase, seconds in figures.seconds.items()},
        }


def _turn(prompt: Sequence[int], reply: Sequence[int]) -> Transition:
    """What a reader needs of a turn that nobody was answered in."""
    return Transition(
        episode="",
        observation="",
        utterance="",
        next_observation=None,
        reward=0.0,
        terminal=True,
        prompt_ids=tuple(prompt),
        completion_ids=tuple(reply),
        behaviour_logprobs=(0.0,) * len(reply),
        temperature=1.0,
        trains_actor=False,
    )
