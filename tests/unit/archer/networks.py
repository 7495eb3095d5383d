"""A critic and its target with a life behind them, and a slow loop that says what their loss must be."""

from dataclasses import replace

import torch
from torch import tensor

from tests.fixtures.transitions import dialogue
from worker.archer.actor import Actor
from worker.archer.critic import build_critic
from worker.archer.critic_training import Lessons, critic_losses
from worker.archer.dialogues import build_dialogues, episode_places
from worker.archer.episodes import episode_ends
from worker.archer.target import TargetCritic

TURNS = [*dialogue("a", (0.0, 0.5, 1.0)), *dialogue("b", (2.0,)), *dialogue("c", (0.0, -1.0), terminal=False)]
WEIGHT = tensor([1.0, 0.5, 2.0, 1.0, 0.25, 1.5])
EVERY = range(6)
READERS = {
    "frozen encoder": {},
    "trained encoder": {"train_reader": True},
    "policy, joint": {"critic_reader": "policy", "critic_encoding": "joint", "train_reader": True},
    "policy, split": {"critic_reader": "policy", "critic_encoding": "split", "train_reader": True},
}


class Networks:
    """A critic and its target, both away from zero, and the lessons of TURNS for them."""

    def __init__(self, model_folder, encoder_folder, config):
        self.config = config
        self.critic = build_critic(Actor.from_pretrained(model_folder, config), encoder_folder, config, seed=1)
        self.critic.heads.shift.fill_(1.0)
        self.critic.heads.scale.fill_(2.0)
        self.critic.heads.is_calibrated.fill_(True)
        self.target = TargetCritic(self.critic)
        for network, seed in ((self.critic, 2), (self.target, 3)):
            generator = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for weight in network.trained().values():
                    weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
        self.target.copy_units(self.critic)
        self.index = self.critic.reader.index(TURNS)

    def lessons(self, *, trace=0.0, fresh_values=None):
        ends = episode_ends(TURNS)
        dialogues = build_dialogues(TURNS, ends, WEIGHT, torch.full((6,), trace))
        with self.critic.reader.active():
            kept = None if self.critic.reader.trains else self.critic.reader.read(self.index, EVERY, following=True)
        names = [turn.episode for turn in TURNS]
        return Lessons(dialogues, self.index, kept, episode_places(ends), names, fresh_values)

    def fast(self, turns=EVERY, **changes):
        """The loss, with its gradients in place."""
        losses = critic_losses(self.critic, self.target, self.lessons(), turns, replace(self.config, **changes))
        total = 0.0
        for loss in losses:
            loss.backward()
            total += loss.item()
        return total

    def slow(self):
        """The equations as written, one turn and one member after the other."""
        total, scale = 0.0, self.critic.heads.scale
        for turn, weight in zip(TURNS, WEIGHT, strict=True):
            with torch.no_grad():
                far = self.alone(self.target, turn)
                after = self.target.v_following(far) if not turn.terminal else torch.zeros(2, 1)
                target_q = self.target.q(far)
            near = self.alone(self.critic, turn)
            for member in (0, 1):
                y = turn.reward + self.config.gamma * after[member, 0]
                q, v = self.critic.q(near)[member, 0], self.critic.v(near)[member, 0]
                loss = (q - y) ** 2 / len(TURNS) + weight * (v - target_q[member, 0]) ** 2 / WEIGHT.sum()
                with self.critic.reader.active():
                    (loss / scale**2).backward(retain_graph=True)
                total += (loss / scale**2).item()
        return total

    @staticmethod
    def alone(critic, turn):
        with critic.reader.active():
            return critic.reader.read(critic.reader.index([turn]), [0], following=True)

    def gradients(self):
        return torch.cat([weight.grad.flatten() for weight in self.critic.trained().values()])

    def forget_gradients(self):
        for weight in self.critic.trained().values():
            weight.grad = None
