"""The arithmetic of an evaluation, from rows to figures: all in one thread, nothing of it kept in memory."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import torch
from transformers.utils import logging as transformers_logging

from core.domain.canaries import EvaluationState
from core.domain.tokens import Tokens
from core.storage.models.base import Json
from worker.archer.config import ArcherConfig
from worker.archer.evidence import Evidence, NothingInCommonError, gather_evidence
from worker.archer.off_policy import estimate
from worker.archer.types import Transition
from worker.evaluation.segments import segments_of
from worker.evaluation.verdict import COVERED, FLOOR, MARGIN, Bounds, decide, too_different
from worker.replay.histories import History
from worker.replay.outliers import Fences
from worker.replay.transitions import lessons_of
from worker.training import as_json, free_memory, generation_prompt_of, load_actor, load_tokenizer, user_prompt_of


@dataclass(frozen=True, slots=True)
class Weighing:
    """Which version is weighed, and by what."""

    histories: Sequence[History]
    tokens: Mapping[UUID, Tokens]
    fences: Fences | None
    units: Mapping[str, str]
    """Whose each conversation is."""
    taught: int
    """How many of them taught the version."""
    stable_id: UUID
    model: str
    adapter: Path
    config: ArcherConfig
    seed: int
    device: str
    threads: int | None


@dataclass(frozen=True, slots=True)
class Weighed:
    """What came out."""

    state: EvaluationState
    reason: str
    figures: Json


def weigh(weighing: Weighing, on_progress: Callable[[float], None]) -> Weighed:
    """Compare the version with what the stable one's conversations brought."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped in transformers
    if weighing.threads is not None:
        torch.set_num_threads(weighing.threads)
    try:
        return _weigh(weighing, on_progress)
    finally:
        free_memory()


def _weigh(weighing: Weighing, on_progress: Callable[[float], None]) -> Weighed:
    started = time.perf_counter()
    tokenizer = load_tokenizer(weighing.model)
    turns = _turns(weighing, generation_prompt_of(tokenizer))
    actor = load_actor(weighing.model, weighing.config, weighing.adapter, device=weighing.device, seed=weighing.seed)
    for turn in turns:
        actor.check_vocabulary(turn.prompt_ids + turn.completion_ids)
    try:
        evidence = gather_evidence(
            actor,
            turns,
            weighing.units,
            weighing.config,
            user_prompt=user_prompt_of(tokenizer),
            seed=weighing.seed,
            on_progress=on_progress,
        )
    except NothingInCommonError as error:
        found = {"effective_sample_size": error.effective, "floor": FLOOR}
        return Weighed(EvaluationState.UNDECIDED, too_different(error.effective), found)
    state, reason, figures = describe(evidence, weighing.taught)
    tags = [each.conversation.tags for each in weighing.histories]
    lengths = [len(each.turns) for each in weighing.histories]
    # Where the whole says nothing, no part of it does.
    figures["segments"] = segments_of(evidence, tags, lengths) if figures["difference"] else None
    figures["seconds"] = time.perf_counter() - started
    return Weighed(state, reason, {name: as_json(value) for name, value in figures.items()})


def describe(evidence: Evidence, taught: int = 0) -> tuple[EvaluationState, str, Json]:
    """The verdict and the figures behind it."""
    spread = evidence.logged.std().item() if len(evidence.logged) > 1 else 0.0
    difference = estimate(evidence.difference, evidence.unit)
    state, reason = decide(
        Bounds(difference.low, difference.high),
        effective=evidence.effective,
        covered=evidence.covered.high,
        spread=spread,
        taught=taught,
    )
    is_enough = evidence.effective >= FLOOR and evidence.covered.high >= COVERED
    return (
        state,
        reason,
        {
            "units": int(evidence.unit.max()) + 1,
            "effective_sample_size": evidence.effective,
            "floor": FLOOR,
            "margin": MARGIN * spread,
            "logged": {**estimate(evidence.logged, evidence.unit)._asdict(), "spread": spread},
            "difference": difference._asdict() if is_enough else None,
            "fitted_q": evidence.fitted.mean().item() if is_enough else None,
            "covered": evidence.covered._asdict(),
            "truncated_share": evidence.truncated_share,
            "judge": {
                "trust": evidence.trust,
                "explained_variance": evidence.explained_variance,
                "penalty": evidence.penalty,
                "replies": evidence.replies,
            },
        },
    )


def _turns(weighing: Weighing, generation_prompt: tuple[int, ...]) -> list[Transition]:
    """Every turn of every conversation; the judge reads tokens, so no text is made of them."""
    return [
        lesson.transition
        for history in weighing.histories
        for lesson in lessons_of(
            history,
            weighing.tokens,
            lambda ids: "",
            generation_prompt=generation_prompt,
            start_version=weighing.stable_id,
            fences=weighing.fences,
        )
    ]
