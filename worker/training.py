"""The arithmetic of a run, from rows to two unfinished folders: all in one thread, nothing of it kept in memory."""

import ctypes
import gc
import math
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

import torch
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from core.domain.tokens import Tokens
from worker.archer.actor import Actor
from worker.archer.checkpoint import CheckpointError
from worker.archer.config import ArcherConfig
from worker.archer.critic import build_critic
from worker.archer.dialogues import is_held_out
from worker.archer.fresh import Decode
from worker.archer.learner import Learner
from worker.archer.types import Figures, Transition
from worker.replay.demonstrations import Shown, demonstrations_of, newly_made, tokenise
from worker.replay.histories import History
from worker.replay.outliers import Fences
from worker.replay.transitions import Lesson, lessons_of

CHECKPOINT = "critic.pt"
LOADED, TRAINED = 0.05, 0.95
"""Shares of a run's progress at which the models are loaded and the update is done."""


class ModelError(Exception):
    """The base model cannot be learned on; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What to learn from, from where to start, and where to write."""

    histories: Sequence[History]
    fences: Fences | None
    """The rewards that are believed."""
    too_stale: Collection[UUID]
    """Versions whose replies train the critic alone."""
    shown: Sequence[Shown]
    tokens: Mapping[UUID, Tokens]
    model: str
    encoder: str | None
    """The critic's own, unless it reads with the policy's model."""
    start_version: UUID
    start_adapter: Path | None
    checkpoints: Sequence[Path]
    """Newest first; the first that fits is taken."""
    config: ArcherConfig
    seed: int
    device: str
    threads: int | None
    adapter_folder: Path
    checkpoint_folder: Path


@dataclass(frozen=True, slots=True)
class Trained:
    """What came out; `skipped` says why there is no adapter, if there is none."""

    lessons: Sequence[Lesson]
    demonstrated: set[UUID]
    """Turns at which another reply was demonstrated."""
    completions: Mapping[UUID, bytes]
    """The demonstrations that were tokenised now, as bytes."""
    figures: dict[str, object]
    skipped: str | None
    keeps_critic: bool
    """Whether there is a checkpoint, from which the next run's critic goes on."""
    critic_run_id: UUID | None = None
    """The run whose critic this one went on from."""


def train(assignment: Assignment, on_progress: Callable[[float], None]) -> Trained:
    """Learn, and write the critic's checkpoint and, if it has learned, the adapter to their unfinished folders."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped in transformers
    if assignment.threads is not None:
        torch.set_num_threads(assignment.threads)
    try:
        return _train(assignment, on_progress)
    finally:
        free_memory()


def _train(assignment: Assignment, on_progress: Callable[[float], None]) -> Trained:
    started = time.perf_counter()
    tokenizer = load_tokenizer(assignment.model)
    decode = _decoder(tokenizer)
    lessons = _lessons(assignment, decode, generation_prompt_of(tokenizer))
    transitions = [lesson.transition for lesson in lessons]
    completions = tokenise(assignment.shown, _encoder(tokenizer))
    shown = demonstrations_of(assignment.shown, assignment.tokens, completions, decode)
    rendered = time.perf_counter()
    learner = _learner(assignment, decode, user_prompt_of(tokenizer))
    critic_start, critic_folder = _restore_critic(learner, assignment.checkpoints)
    loaded = time.perf_counter()
    on_progress(LOADED)
    update = learner.update(
        transitions,
        [demonstration for _, demonstration in shown],
        on_progress=lambda share: on_progress(LOADED + (TRAINED - LOADED) * share),
    )
    updated = time.perf_counter()
    if update.actor_skipped is None:
        learner.actor.save_adapter(assignment.adapter_folder)
    # An actor that only imitated demonstrations says nothing of whether outcomes differ.
    followed_outcomes = update.actor_skipped is None and not (
        update.demonstrations and update.demonstrations.only_these
    )
    keeps_critic = followed_outcomes or outcomes_differ(transitions, assignment.config.held_out_share)
    if keeps_critic:
        learner.save(assignment.checkpoint_folder / CHECKPOINT)
    figures = update.to_json()
    seconds = {"render": rendered - started, "load_models": loaded - rendered, "update": updated - loaded}
    figures["run_seconds"] = {**seconds, "write": time.perf_counter() - updated}
    figures["critic_start"] = critic_start
    figures["effective_sample_size_share"] = effective_sample_size_share(update, assignment.config)
    as_stored = {name: as_json(value) for name, value in figures.items()}
    return Trained(
        lessons=lessons,
        demonstrated={turn for turn, _ in shown},
        completions=newly_made(assignment.shown, completions),
        figures=as_stored,
        skipped=update.actor_skipped,
        keeps_critic=keeps_critic,
        critic_run_id=None if critic_folder is None else UUID(hex=critic_folder.name),
    )


def outcomes_differ(transitions: Sequence[Transition], held_out_share: float) -> bool:
    """Whether any two turns at the same kind of place, last or not, or any two episodes earned differently.

    Of the turns that the critic learned from: if not, their returns differ by discount alone, and a first critic would
    keep that spread as its unit for ever.
    """
    totals: dict[str, float] = {}
    last: dict[str, float] = {}
    earlier: set[float] = set()
    for turn in transitions:
        if is_held_out(turn.held_out_by, held_out_share):
            continue
        if turn.episode in last:
            earlier.add(last[turn.episode])
        last[turn.episode] = turn.reward
        totals[turn.episode] = totals.get(turn.episode, 0.0) + turn.reward
    return max(len(set(totals.values())), len(set(last.values())), len(earlier)) > 1


def effective_sample_size_share(update: Figures, config: ArcherConfig) -> float | None:
    """Of the logged turns that the actor took, 1 if the policy speaks as it did then; None where it took none."""
    if update.actor is None or update.actor_leapt or config.actor_utterances == "fresh":
        return None
    return update.actor.effective_sample_size / update.actor_turns


def as_json(value: object) -> object:
    """The value with None for what is not finite: JSON, and so Postgres, has no word for it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: as_json(item) for name, item in value.items()}
    return value


def load_tokenizer(model: str) -> Any:
    """The model's own; ModelError where there is none."""
    try:
        return AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise ModelError(f"NOCK_MODEL={model} has no tokenizer that transformers can load: {error}") from error


def _decoder(tokenizer: Any) -> Decode:
    return lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=True))


def _encoder(tokenizer: Any) -> Callable[[str], tuple[int, ...]]:
    """A reply as tokens, with the end that the model would have sampled after it."""
    end = user_prompt_of(tokenizer)[:1] or (int(tokenizer.eos_token_id),)
    return lambda text: (*tokenizer(text, add_special_tokens=False)["input_ids"], *end)


def generation_prompt_of(tokenizer: Any) -> tuple[int, ...]:
    """The tokens with which the chat template begins a reply; none where the template is not the model's own."""
    if not tokenizer.chat_template:
        return ()
    asked = [{"role": "user", "content": "-"}]
    without, begun = (
        tokenizer.apply_chat_template(asked, add_generation_prompt=begins, tokenize=True, return_dict=False)
        for begins in (False, True)
    )
    return tuple(begun[len(without) :])


def user_prompt_of(tokenizer: Any) -> tuple[int, ...]:
    """The tokens that the chat template puts between a reply and the user's next words, the reply's end token first.

    None where the template is not the model's own.
    """
    if not tokenizer.chat_template:
        return ()
    reply, words = "\x00reply\x00", "\x00words\x00"
    told = [("user", "-"), ("assistant", reply), ("user", words)]
    text = str(tokenizer.apply_chat_template([{"role": r, "content": c} for r, c in told], tokenize=False))
    return tuple(tokenizer(text.split(reply)[-1].split(words)[0], add_special_tokens=False)["input_ids"])


def _lessons(assignment: Assignment, decode: Decode, generation_prompt: tuple[int, ...]) -> list[Lesson]:
    decode_once = lru_cache(maxsize=2)(decode)  # a next observation is mostly the next turn's observation
    return [
        lesson
        for history in assignment.histories
        for lesson in lessons_of(
            history,
            assignment.tokens,
            decode_once,
            generation_prompt=generation_prompt,
            start_version=assignment.start_version,
            fences=assignment.fences,
            too_stale=assignment.too_stale,
        )
    ]


def _learner(assignment: Assignment, decode: Decode, user_prompt: tuple[int, ...]) -> Learner:
    config, seed = assignment.config, assignment.seed
    actor = load_actor(assignment.model, config, assignment.start_adapter, device=assignment.device, seed=seed)
    critic = build_critic(actor, assignment.encoder, config, user_prompt=user_prompt, seed=seed)
    return Learner(actor, critic, config, decode=decode, seed=seed)


def load_actor(model: str, config: ArcherConfig, adapter: Path | None, *, device: str, seed: int) -> Actor:
    """The base model with the adapter, or with a fresh one, where it is to work."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    # On a processor half precision is slower; peft keeps the LoRA itself in float32 either way.
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    return Actor.from_pretrained(model, config, adapter=adapter, device=device, dtype=dtype, seed=seed)


def _restore_critic(learner: Learner, checkpoints: Sequence[Path]) -> tuple[str, Path | None]:
    """Go on from the newest checkpoint that fits; says from which, or why from none, and gives back its folder."""
    reasons = []
    for folder in checkpoints:
        try:
            learner.restore_critic(folder / CHECKPOINT)
        except CheckpointError as error:
            reasons.append(str(error))
        else:
            return f"checkpoint of run {folder.name}", folder
    return "fresh" if not reasons else f"fresh: {' '.join(reasons)}", None


def free_memory() -> None:
    """Give the models' memory back to the system: this process lives on and waits for the next run."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        # glibc keeps what a thread has freed in that thread's arena, and each run is another thread.
        ctypes.CDLL(None).malloc_trim(0)
