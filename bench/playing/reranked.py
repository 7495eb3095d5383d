"""Plays games where several replies are sampled a turn and one of them is said; knows not who chooses, nor why."""

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bench.playing.games import Played, play_together
from bench.playing.transcript import Transcript
from sim.task import Task
from worker.archer.speaker import Speaker, Utterance

Choose = Callable[[Sequence[Sequence[int]], Sequence[Sequence[Utterance]]], Sequence[int]]
"""From prompts, and the replies sampled to each, to the place of the reply that is said."""


class ChoosingSpeaker(Speaker):
    """Each conversation is continued `candidates` times a turn, and goes on from the one that `choose` takes."""

    def __init__(
        self,
        model: PreTrainedModel,
        rows: int,
        *,
        ends: Sequence[int],
        max_new_tokens: int,
        generator: torch.Generator,
        candidates: int,
        choose: Choose,
    ) -> None:
        super().__init__(model, rows, ends=ends, max_new_tokens=max_new_tokens, generator=generator)
        self.candidates = candidates
        self.choose = choose
        self.read: list[list[int]] = [[] for _ in range(rows)]
        """What the cache holds of each conversation, as ids."""

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these conversations only."""
        super().keep(rows)
        self.read = [self.read[row] for row in rows]

    def speak(self, heard: Sequence[Sequence[int]], *, each: int = 1) -> list[Utterance]:
        """Read the new tokens of each conversation, sample its candidates, and give back the chosen ones."""
        assert each == 1, "one of the candidates is said"
        prompts = [[*read, *ids] for read, ids in zip(self.read, heard, strict=True)]
        said = super().speak(heard, each=self.candidates)
        sampled = [said[row * self.candidates : (row + 1) * self.candidates] for row in range(len(heard))]
        chosen = self.choose(prompts, sampled)
        # The chosen candidate's row has read just what was said; the others are forgotten with what they read.
        self.take([row * self.candidates + place for row, place in enumerate(chosen)])
        replies = [sampled[row][place] for row, place in enumerate(chosen)]
        self.read = [[*prompt, *reply.ids[:-1]] for prompt, reply in zip(prompts, replies, strict=True)]
        return replies


def play_reranked(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    seeds: Sequence[int],
    *,
    candidates: int,
    choose: Choose,
    generator: torch.Generator,
    max_new_tokens: int,
    together: int = 256,
) -> list[Played]:
    """Each seed's game to its end, `together` at a time. The log-probs are the model's, as if nobody had chosen."""
    transcript = Transcript(tokenizer)
    played: list[Played] = []
    for start in range(0, len(seeds), together):
        chunk = seeds[start : start + together]
        speaker = ChoosingSpeaker(
            model,
            len(chunk),
            ends=[int(tokenizer.eos_token_id)],
            max_new_tokens=max_new_tokens,
            generator=generator,
            candidates=candidates,
            choose=choose,
        )
        played += play_together(speaker, tokenizer, transcript, task, chunk)
    return played
