"""Plays games where several replies are sampled a turn and one of them is said; knows not who chooses, nor why."""

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bench.playing.games import Played, Turn
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

    def speak(self, heard: Sequence[Sequence[int]]) -> list[Utterance]:
        """Read the new tokens of each conversation, sample its candidates, and give back the chosen ones."""
        many = range(self.candidates)
        prompts = [[*read, *ids] for read, ids in zip(self.read, heard, strict=True)]
        self._take([row for row in range(len(heard)) for _ in many])
        said = super().speak([ids for ids in heard for _ in many])
        sampled = [said[row * self.candidates : (row + 1) * self.candidates] for row in range(len(heard))]
        chosen = self.choose(prompts, sampled)
        # The chosen candidate's row has read just what was said; the others are forgotten with what they read.
        self._take([row * self.candidates + place for row, place in enumerate(chosen)])
        replies = [sampled[row][place] for row, place in enumerate(chosen)]
        self.read = [[*prompt, *reply.ids[:-1]] for prompt, reply in zip(prompts, replies, strict=True)]
        return replies

    def _take(self, rows: Sequence[int]) -> None:
        """These rows of all that was read, as often as they are named."""
        index = torch.tensor(rows, device=self.device)
        self.mask = self.mask[index]
        self.temperature = self.temperature[index]
        self.cache.batch_select_indices(index)


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
    transcript, end = Transcript(tokenizer), int(tokenizer.eos_token_id)
    played: list[Played] = []
    for start in range(0, len(seeds), together):
        chunk = seeds[start : start + together]
        speaker = ChoosingSpeaker(
            model,
            len(chunk),
            ends=[end],
            max_new_tokens=max_new_tokens,
            generator=generator,
            candidates=candidates,
            choose=choose,
        )
        played += _play_together(speaker, tokenizer, transcript, task, chunk, end)
    return played


def _play_together(
    speaker: Speaker,
    tokenizer: PreTrainedTokenizerBase,
    transcript: Transcript,
    task: Task,
    seeds: Sequence[int],
    end: int,
) -> list[Played]:
    games = [task.game(seed) for seed in seeds]
    prompts = [transcript.opening(game.opening) for game in games]
    unread = list(prompts)
    turns: list[list[Turn]] = [[] for _ in seeds]
    finished: dict[int, Played] = {}
    running = list(range(len(seeds)))
    while running:
        said = speaker.speak([unread[place] for place in running])
        texts = tokenizer.batch_decode([utterance.ids for utterance in said], skip_special_tokens=True)
        for place, utterance, text in zip(running, said, texts, strict=True):
            answer = games[place].answer(text)
            completion = tuple(utterance.ids)
            following = transcript.after_reply(answer.message)
            if completion[-1] == end and following[0] == end:
                following = following[1:]
            turns[place].append(
                Turn(prompts[place], completion, tuple(utterance.logprobs), text, answer.message, answer.reward)
            )
            prompts[place] = prompts[place] + completion + following
            unread[place] = completion[-1:] + following
            if answer.end is not None:
                finished[place] = Played(seeds[place], tuple(turns[place]), answer.end, prompts[place])
        still = [row for row, place in enumerate(running) if place not in finished]
        running = [running[row] for row in still]
        if running:
            speaker.keep(still)
    return [finished[place] for place in range(len(seeds))]
