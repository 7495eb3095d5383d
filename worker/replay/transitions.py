"""A conversation's turns as the transitions of the algorithm: observation, utterance, reward, what came next."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

import structlog

from core.domain.episodes import is_terminal
from core.domain.sampling import Learnable
from core.domain.tokens import Tokens
from core.storage.models import Episode, Turn
from worker.archer.types import Transition, TransitionError
from worker.replay.histories import History
from worker.replay.outliers import Fences

log = structlog.get_logger()

Decode = Callable[[tuple[int, ...]], str]
"""Token ids to text as the policy's tokenizer has it, special tokens left out."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """A transition, and the turn that it was made of."""

    turn_id: UUID
    earned: float
    """As the ledger has it; the transition's reward lies within the fences."""
    transition: Transition


def lessons_of(
    history: History,
    tokens: Mapping[UUID, Tokens],
    decode: Decode,
    *,
    generation_prompt: tuple[int, ...],
    start_version: UUID,
    fences: Fences | None = None,
    too_stale: Collection[UUID] = (),
) -> Iterator[Lesson]:
    """The conversation's lessons, in order.

    `generation_prompt` is how the chat template begins a reply. What `too_stale` versions said trains the critic alone.

    Of a conversation whose outcome is not known the last turn is left out: it would earn that outcome.

    A turn that nobody can learn from is left out, and those after it are another stretch to the algorithm: the turn
    before it bootstraps from the state it was spoken in, and nobody is credited across the gap. An episode that
    another one continues bootstraps likewise: the conversation was not over.

    What would have been asked after a cut is not known, so its next state is the transcript where a reply would begin.
    A critic never learns the value of any other place: bootstrapped from the end of a reply, it diverges.
    """
    stretch = 0
    usable = history.turns if history.is_finished else history.turns[:-1]
    for place, turn in enumerate(usable):
        spoken = tokens.get(turn.id)
        if turn.learnable is Learnable.NONE or spoken is None or not spoken.prompt_ids:
            stretch += 1
            continue
        episode = history.episodes[place]
        following = history.turns[place + 1] if place + 1 < len(history.turns) else None
        next_spoken = None if following is None else tokens.get(following.id)
        unasked = spoken.transcript_ids + generation_prompt
        after = next_spoken.prompt_ids if next_spoken and next_spoken.prompt_ids else unasked
        temperature = turn.sampling.get("temperature")
        reward = history.rewards[place]
        transition = Transition(
            episode=f"{episode.id.hex}.{stretch}",
            conversation=history.conversation.id.hex,
            observation=decode(spoken.prompt_ids),
            utterance=decode(spoken.completion_ids) if spoken.completion_ids else str(turn.reply.get("content") or ""),
            next_observation=decode(after),
            next_prompt_ids=after,
            reward=reward if fences is None else fences.hold(reward),
            terminal=following is None and _is_over(history, episode),
            prompt_ids=spoken.prompt_ids,
            completion_ids=spoken.completion_ids,
            behaviour_logprobs=spoken.logprobs,
            temperature=1.0 if temperature is None else float(temperature),
            trains_actor=False,
            on_policy=episode.adapter_id == start_version,
            weight=history.weight,
        )
        is_fresh_enough = episode.adapter_id not in too_stale
        yield Lesson(turn.id, reward, _for_actor(turn, transition) if is_fresh_enough else transition)


def _is_over(history: History, episode: Episode) -> bool:
    """Whether nothing of value can follow the last turn: what was said of the whole conversation is all it earns."""
    return episode.ended_by is not None and (history.is_told_whole or is_terminal(episode.ended_by))


def _for_actor(turn: Turn, transition: Transition) -> Transition:
    """The same for the actor too, where the turn is meant for it and its log-probs hold what they promise."""
    if turn.learnable is not Learnable.ACTOR:
        return transition
    try:
        return dataclasses.replace(transition, trains_actor=True)
    except TransitionError as error:
        log.error("a turn cannot train the actor: the critic alone takes it", turn=turn.id.hex, why=str(error))
        return transition
