"""Reads turns as tokens with the policy's own model, under an adapter of the critic's; knows no values.

A causal model has read, at a prompt's last token, the observation. A reply is read where the user's next words would
begin: there the model foresees what the reply will be answered, while at the reply's own last token it foresees only
that somebody else speaks now. One pass over an episode gives the features of all its turns, and the transcript that
they share is read once.
"""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from worker.archer.adapters import adapter_parameters, add_adapter, copy_adapter, using
from worker.archer.config import ArcherConfig
from worker.archer.dialogues import bootstraps
from worker.archer.reader import Reader, weights_digest
from worker.archer.types import Features, Transition, TransitionError

CRITIC, CRITIC_TARGET = "critic", "critic_target"


class Place(NamedTuple):
    """A token of a row, and the turn that it speaks for."""

    token: int
    turn: int


class ReadRow(NamedTuple):
    """One sequence, and where in it observations and replies end."""

    ids: tuple[int, ...]
    observations: tuple[Place, ...]
    actions: tuple[Place, ...]
    following: tuple[Place, ...]


class TokenIndex(NamedTuple):
    """The rows of an update's turns, and which of them each turn needs."""

    rows: list[ReadRow]
    rows_of: list[tuple[int, ...]]
    following_of: list[int]
    """The turn whose observation follows; the turn itself where a row reads what follows; -1 where nothing does."""
    utterances: list[tuple[int, ...]]
    cut: int


class TokenReader(Reader[TokenIndex]):
    """The policy's model under the adapter `critic`; split, a reply is read apart from its transcript."""

    def __init__(
        self, model: PeftModel, config: ArcherConfig, *, user_prompt: Sequence[int] = (), seed: int = 0
    ) -> None:
        self.model = model
        self.config = config
        self.user_prompt = tuple(user_prompt)
        """How the chat template begins a user's message after a reply, the reply's end token included."""
        self.adapter = CRITIC
        self.trains = config.train_reader
        self.is_joint = config.critic_encoding == "joint"
        width: int = model.config.hidden_size
        self.state_width = width
        self.action_width = width if self.is_joint else 2 * width
        if self.trains:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                add_adapter(model, CRITIC, like=str(model.active_adapter))

    def index(self, transitions: Sequence[Transition]) -> TokenIndex:
        """Turns whose prompts grow from one another share a row; prompts are cut on the left, replies on the right."""
        longest_prompt, longest_reply = self.config.max_prompt_tokens, self.config.max_completion_tokens
        rows: list[ReadRow] = []
        rows_of: list[tuple[int, ...]] = []
        following_of: list[int] = []
        cut = 0
        for turn, transition in enumerate(transitions):
            if not transition.prompt_ids:
                raise _missing(transition, "prompt_ids")
            prompt = transition.prompt_ids[-longest_prompt:]
            reply = transition.completion_ids[:longest_reply]
            cut += len(prompt) < len(transition.prompt_ids) or len(reply) < len(transition.completion_ids)
            row = ReadRow(prompt + self._told(reply), (), (), ())
            if rows and prompt[: len(rows[-1].ids)] == rows[-1].ids:
                row = rows.pop()._replace(ids=row.ids)
            row = row._replace(
                observations=(*row.observations, Place(len(prompt) - 1, turn)),
                actions=(*row.actions, Place(len(row.ids) - 1, turn)),
            )
            rows.append(row)
            needed = [len(rows) - 1]
            is_last = turn + 1 == len(transitions) or transitions[turn + 1].episode != transition.episode
            if not is_last:
                following_of.append(turn + 1)
            elif not bootstraps(transition):
                following_of.append(-1)
            else:
                if not transition.next_prompt_ids:
                    raise _missing(transition, "next_prompt_ids, since it was cut and something follows it")
                following_of.append(turn)
                after = transition.next_prompt_ids[-longest_prompt:]
                if after[: len(row.ids)] == row.ids:
                    # An episode may go on where another was cut: then the row ends for both.
                    rows[-1] = row._replace(ids=after, following=(*row.following, Place(len(after) - 1, turn)))
                else:
                    rows.append(ReadRow(after, (), (), (Place(len(after) - 1, turn),)))
                    needed.append(len(rows) - 1)
            rows_of.append(tuple(needed))
        told = [self._told(transition.completion_ids[:longest_reply]) for transition in transitions]
        return TokenIndex(rows, rows_of, following_of, told, cut)

    def _told(self, reply: tuple[int, ...]) -> tuple[int, ...]:
        """A reply up to where its answer begins. One that ended by itself has the end token already."""
        ended = reply[-1:] == self.user_prompt[:1]
        return reply + self.user_prompt[ended:]

    def parts(self, index: TokenIndex, turns: Sequence[int]) -> list[list[int]]:
        """Turns of whole rows, at most max_tokens_per_microbatch with padding; a longer row goes alone."""
        turns_of: dict[int, list[int]] = {}
        for turn in turns:
            turns_of.setdefault(index.rows_of[turn][0], []).append(turn)
        ordered = sorted(turns_of, key=lambda row: len(index.rows[row].ids), reverse=True)
        return [
            [turn for row in rows for turn in turns_of[row]]
            for rows in _together(ordered, index, self.config.max_tokens_per_microbatch)
        ]

    def read(self, index: TokenIndex, turns: Sequence[int], *, following: bool) -> Features:
        """Each row that these turns need goes through the model once."""
        slot = {turn: place for place, turn in enumerate(turns)}
        rows = sorted({row for turn in turns for row in index.rows_of[turn][: None if following else 1]})
        rows.sort(key=lambda row: len(index.rows[row].ids), reverse=True)
        found: dict[str, list[Tensor]] = {"observations": [], "actions": [], "following": []}
        slots: dict[str, list[int]] = {"observations": [], "actions": [], "following": []}
        for together in _together(rows, index, self.config.max_tokens_per_microbatch):
            hidden = self.hidden([index.rows[row].ids for row in together])
            for kind in found:
                places = [
                    (row, place.token, slot[place.turn])
                    for row, number in enumerate(together)
                    for place in getattr(index.rows[number], kind)
                    if place.turn in slot
                ]
                found[kind].append(hidden[[row for row, _, _ in places], [token for _, token, _ in places]])
                slots[kind] += [to for _, _, to in places]

        def gathered(kind: str) -> Tensor:
            features = torch.cat(found[kind])
            place = torch.tensor(slots[kind], dtype=torch.long, device=features.device)
            return features.new_zeros(len(turns), self.state_width).index_copy(0, place, features)

        observation, action = gathered("observations"), gathered("actions")
        if not self.is_joint:
            action = torch.cat([observation, self._alone([index.utterances[turn] for turn in turns])], dim=-1)
        after = torch.zeros_like(observation)
        if following:
            after = gathered("following")
            onward = [place for place, turn in enumerate(turns) if index.following_of[turn] == turn + 1]
            after[onward] = observation[[slot[turns[place] + 1] for place in onward]]
        return Features(observation, action, after)

    def _alone(self, utterances: Sequence[tuple[int, ...]]) -> Float[Tensor, "turns width"]:
        """The replies without what came before them; zeros where a reply's tokens are not known."""
        spoken = [place for place, ids in enumerate(utterances) if ids]
        at_once = max(1, self.config.max_tokens_per_microbatch // max(1, *map(len, utterances)))
        alone = torch.zeros(len(utterances), self.state_width, device=self.model.device)
        for start in range(0, len(spoken), at_once):
            places = spoken[start : start + at_once]
            together = [utterances[place] for place in places]
            ends = self.hidden(together)[list(range(len(together))), [len(ids) - 1 for ids in together]]
            alone = alone.index_copy(0, torch.tensor(places, device=alone.device), ends)
        return alone

    def hidden(self, rows: Sequence[tuple[int, ...]]) -> Float[Tensor, "rows length width"]:
        """The model's last hidden states, without the vocabulary. Padding lies on the right, where nobody looks."""
        ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True).to(self.model.device)
        with torch.set_grad_enabled(self.trains and torch.is_grad_enabled()):
            body = self.model.get_base_model().base_model
            hidden: Tensor = body(input_ids=ids, use_cache=False).last_hidden_state
        return hidden.float()

    def count_cut(self, index: TokenIndex) -> int:
        """Turns whose prompt or reply was cut."""
        return index.cut

    def twin(self) -> "TokenReader":
        """The same model under an adapter that is never trained; itself where nothing moves."""
        if not self.trains:
            return self
        other = copy.copy(self)
        other.adapter = CRITIC_TARGET
        add_adapter(self.model, CRITIC_TARGET, like=self.adapter)
        copy_adapter(self.model, self.adapter, CRITIC_TARGET)
        return other

    def active(self) -> AbstractContextManager[None]:
        """The critic's adapter is in use; a frozen reader takes the base model as it is."""
        if self.trains:
            return using(self.model, self.adapter)
        disabled: AbstractContextManager[None] = self.model.disable_adapter()
        return disabled

    def trained(self) -> dict[str, nn.Parameter]:
        """The critic's adapter, where it is trained."""
        return adapter_parameters(self.model, self.adapter) if self.trains else {}

    def architecture(self) -> dict[str, str]:
        """The policy's model, and the adapter's rank."""
        base = self.model.get_base_model()
        described = {
            "critic reads": f"{'joint' if self.is_joint else 'split'} tokens",
            "user's messages begin with": " ".join(map(str, self.user_prompt)) or "nothing",
            "critic's model": f"{self.model.config.model_type}, hidden size {self.state_width}",
            "critic's adapter": self._shape() if self.trains else "none",
        }
        return described if self.trains else described | {"frozen model's weights": weights_digest(base)}

    def _shape(self) -> str:
        """The adapter's, which is that of the actor's at the time, whatever the config says."""
        size = sum(weight.numel() for weight in self.trained().values())
        return f"rank {self.model.peft_config[self.adapter].r}, {size} weights"


def _missing(transition: Transition, what: str) -> TransitionError:
    return TransitionError(
        f"A turn of episode {transition.episode!r} cannot be learned from: a critic that reads tokens needs its {what}."
    )


def _together(rows: Sequence[int], index: TokenIndex, max_tokens: int) -> list[list[int]]:
    """Rows, the longest first, at most `max_tokens` with padding at a time; a longer row goes alone."""
    batches: list[list[int]] = []
    for row in rows:
        if batches and len(index.rows[batches[-1][0]].ids) * (len(batches[-1]) + 1) <= max_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches
