"""Plays games of a task with a model, in process: what each turn said, how likely it was, and what it earned."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bench.playing.transcript import Transcript
from sim.task import End, Task
from worker.archer.speaker import Speaker


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance, what was read before it, and what it led to."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    answer: str
    reward: float


@dataclass(frozen=True, slots=True)
class Played:
    """A whole game; `next_ids` is what would have been read next."""

    seed: int
    turns: tuple[Turn, ...]
    end: End
    next_ids: tuple[int, ...]

    @property
    def total(self) -> float:
        """Its undiscounted return."""
        return sum(turn.reward for turn in self.turns)

    @property
    def tokens(self) -> int:
        """Tokens that the policy generated."""
        return sum(len(turn.completion_ids) for turn in self.turns)


def play(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    seeds: Sequence[int],
    *,
    generator: torch.Generator,
    max_new_tokens: int,
    together: int = 256,
) -> list[Played]:
    """Each seed's game to its end, `together` at a time."""
    transcript = Transcript(tokenizer)
    played: list[Played] = []
    for start in range(0, len(seeds), together):
        chunk = seeds[start : start + together]
        ends = [int(tokenizer.eos_token_id)]
        speaker = Speaker(model, len(chunk), ends=ends, max_new_tokens=max_new_tokens, generator=generator)
        played += play_together(speaker, tokenizer, transcript, task, chunk)
    return played


def play_together(
    speaker: Speaker,
    tokenizer: PreTrainedTokenizerBase,
    transcript: Transcript,
    task: Task,
    seeds: Sequence[int],
) -> list[Played]:
    """Each seed's game to its end, whatever it is that speaks; one conversation of the speaker's for each."""
    end = int(tokenizer.eos_token_id)
    games = [task.game(seed) for seed in seeds]
    prompts = [transcript.opening(game.opening) for game in games]
    unread: list[tuple[int, ...]] = list(prompts)
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
