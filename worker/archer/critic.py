"""An ensemble of Q and V of whole utterances over whatever reads the turns; knows neither the actor nor training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worker.archer.actor import Actor
from worker.archer.config import ArcherConfig
from worker.archer.heads import ValueHeads
from worker.archer.reader import Reader
from worker.archer.text_reader import EncoderError, TextEncoder, TextReader
from worker.archer.token_reader import TokenReader
from worker.archer.types import Features


class Critic:
    """A reader and the heads over it."""

    def __init__(self, reader: Reader[Any], heads: ValueHeads) -> None:
        self.reader = reader
        self.heads = heads

    def q(self, features: Features) -> Float[Tensor, "ensemble turns"]:
        """Q of each turn's utterance after its transcript."""
        return self.heads.value(self.heads.q_logits(features.action))

    def v(self, features: Features) -> Float[Tensor, "ensemble turns"]:
        """V of each turn's transcript."""
        return self.heads.value(self.heads.v_logits(features.observation))

    def v_following(self, features: Features) -> Float[Tensor, "ensemble turns"]:
        """V of what follows each turn; meaningless where nothing does."""
        return self.heads.value(self.heads.v_logits(features.following))

    def trained(self) -> dict[str, nn.Parameter]:
        """Everything that moves, by name."""
        heads = {f"heads.{name}": weight for name, weight in self.heads.named_parameters()}
        return heads | {f"reader.{name}": weight for name, weight in self.reader.trained().items()}

    def state(self) -> dict[str, Tensor]:
        """All that a checkpoint must hold: what moves, and the unit of the values."""
        units = {f"units.{name}": value for name, value in self.heads.named_buffers()}
        return {name: tensor.detach().clone() for name, tensor in {**self.trained(), **units}.items()}

    @torch.no_grad()
    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        units = {f"units.{name}": value for name, value in self.heads.named_buffers()}
        for name, tensor in {**self.trained(), **units}.items():
            tensor.copy_(state[name])


def build_critic(
    actor: Actor,
    encoder: str | Path | None,
    config: ArcherConfig,
    *,
    user_prompt: Sequence[int] = (),
    seed: int = 0,
) -> Critic:
    """The critic that the config asks for: over the actor's own model, or over a transformers encoder of its own.

    `user_prompt` is how the chat template begins a user's message: there a critic of tokens reads what a reply brings.
    """
    reader: Reader[Any]
    if config.critic_reader == "policy":
        reader = TokenReader(actor.model, config, user_prompt=user_prompt, seed=seed)
    elif encoder is None:
        raise EncoderError("critic_reader is 'encoder', and no encoder was named.")
    else:
        reader = TextReader(TextEncoder.from_pretrained(encoder, config).to(actor.device), config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = ValueHeads(reader.state_width, reader.action_width, config)
    return Critic(reader, heads.to(actor.device))
