"""Which logged conversations a version is weighed by, and why the others cannot be; knows no arithmetic."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.sampling import Learnable
from core.domain.tokens import Tokens
from core.storage.models import AdapterVersion
from core.storage.repositories import learner
from worker.configuration import RunConfiguration
from worker.evaluation.units import units_of
from worker.evaluation.verdict import FLOOR
from worker.replay.histories import History, read_histories
from worker.replay.outliers import Fences
from worker.replay.tokens import load_tokens

MOST, LOOKED_AT = 256, 512
"""Conversations that a version is weighed by, and the newest ones with an outcome among which they are found."""


class Unusable(StrEnum):
    """Why a conversation says nothing of how another version would have done."""

    OTHER_VERSION = "other_version"
    """Not the stable version alone spoke in it."""
    NO_LOG_PROBS = "no_log_probs"
    """A reply whose log-probs are not those of what was sampled, or that nobody sampled."""
    TOO_LONG = "too_long"
    """A prompt or a reply that a version would not read whole."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a version is weighed by."""

    histories: Sequence[History]
    tokens: Mapping[UUID, Tokens]
    fences: Fences | None
    """The rewards that are believed."""
    unusable: Counter[Unusable]
    taught: int
    """Of the conversations, those that taught the run which made the version."""

    def figures(self) -> dict[str, object]:
        """How many there are, and how many there are not."""
        usable, unusable = len(self.histories), sum(self.unusable.values())
        return {
            "conversations": usable,
            "taught_share": self.taught / usable if usable else None,
            "unusable": {reason.value: self.unusable[reason] for reason in Unusable},
            "unusable_share": unusable / (usable + unusable) if unusable + usable else None,
        }


async def draw(
    session: AsyncSession, version: AdapterVersion, stable_id: UUID, configuration: RunConfiguration, chance: Random
) -> Drawn:
    """The newest conversations with an outcome that the stable version held alone, few of any one end user.

    Other versions' would compare the candidate with a mixture of what nobody serves any more. Those that taught the
    candidate flatter it, since it has learned their luck by heart: they are left out where the others are enough.
    """
    config = replace(configuration.replay, max_conversations=LOOKED_AT, reservoir_share=0.0, unfinished_share=0.0)
    read = await read_histories(session, version.agent_id, config, since=None, chance=chance)
    told = [history for history in read.histories if history.is_finished]
    by_stable = [each for each in told if all(episode.adapter_id == stable_id for episode in each.episodes)]
    tokens = await load_tokens(session, [turn.id for history in by_stable for turn in history.turns])
    # Those of which no turn may teach anybody were drawn and never read.
    unusable = Counter(
        {
            Unusable.OTHER_VERSION: len(told) - len(by_stable),
            Unusable.NO_LOG_PROBS: len(read.drawn.parts) - len(told),
        }
    )
    usable: list[History] = []
    for history in by_stable:
        reason = _reason_against(history, tokens, configuration)
        if reason is None:
            usable.append(history)
        else:
            unusable[reason] += 1
    taught = set() if version.run_id is None else await _taught(session, version.run_id)
    news = [history for history in usable if history.conversation.id not in taught]
    chosen = news if len(set(units_of(news).values())) >= FLOOR else usable
    chosen = chosen[:MOST]
    return Drawn(chosen, tokens, read.fences, unusable, sum(history.conversation.id in taught for history in chosen))


async def _taught(session: AsyncSession, run_id: UUID) -> set[UUID]:
    return {conversation for _, conversation in await learner.list_run_turns(session, run_id)}


def _reason_against(
    history: History, tokens: Mapping[UUID, Tokens], configuration: RunConfiguration
) -> Unusable | None:
    """A ratio is of all that was said: one reply of which nothing is known spoils the whole conversation."""
    for turn in history.turns:
        spoken = tokens.get(turn.id)
        temperature = turn.sampling.get("temperature")
        is_known = spoken is not None and spoken.prompt_ids and spoken.completion_ids and spoken.logprobs
        if turn.learnable is not Learnable.ACTOR or not is_known or temperature == 0:
            return Unusable.NO_LOG_PROBS
        assert spoken is not None
        is_long = len(spoken.prompt_ids) > configuration.archer.max_prompt_tokens
        if is_long or len(spoken.completion_ids) > configuration.archer.max_completion_tokens:
            return Unusable.TOO_LONG
    return None
