"""What humans say should have been replied, as the algorithm takes it; its text is tokenised once and kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.metrics import by_name
from core.domain.rewards import effective
from core.domain.sampling import Learnable
from core.domain.tokens import Tokens, ids_of, ids_to_bytes
from core.storage.models import Episode, Turn
from core.storage.repositories import agents, conversations, rewards, turns
from worker.archer.types import Demonstration
from worker.replay.transitions import Decode


@dataclass(frozen=True, slots=True)
class Shown:
    """A demonstration that stands: the turn that it is of, the reply, and its tokens if they were made before."""

    entry_id: UUID
    turn: Turn
    episode: Episode
    text: str
    completion: bytes | None


async def read_demonstrations(session: AsyncSession, agent_id: UUID, base_model: str, *, limit: int) -> list[Shown]:
    """The agent's newest that are neither superseded nor retracted, of turns whose tokens a learner may read."""
    found = await rewards.list_demonstrations(session, agent_id, limit=limit)
    ledgers = await rewards.ledgers_of(session, {entry.conversation_id for _, entry in found})
    standing = {entry.id for ledger in ledgers.values() for entry in effective(ledger)}
    teaching = {
        name for name, metric in by_name(await agents.list_metrics(session, agent_id)).items() if metric.demonstrates
    }
    said = {
        turn.id: turn
        for turn in await turns.list_by_id(session, {entry.turn_id for _, entry in found if entry.turn_id})
    }
    listed = await conversations.list_episodes_of(session, {turn.conversation_id for turn in said.values()})
    episodes = {episode.id: episode for episode in listed}
    return [
        Shown(
            entry.id,
            said[entry.turn_id],
            episodes[said[entry.turn_id].episode_id],
            str(entry.value),
            row.completion if row.base_model == base_model else None,
        )
        for row, entry in found
        if entry.id in standing
        and entry.metric in teaching
        and entry.turn_id in said
        and said[entry.turn_id].learnable is not Learnable.NONE
    ]


def tokenise(shown: Sequence[Shown], encode: Callable[[str], tuple[int, ...]]) -> dict[UUID, tuple[int, ...]]:
    """The tokens of each reply: as they were made once, or made now."""
    return {each.entry_id: encode(each.text) if each.completion is None else ids_of(each.completion) for each in shown}


def newly_made(shown: Sequence[Shown], completions: Mapping[UUID, tuple[int, ...]]) -> dict[UUID, bytes]:
    """What is to be kept of them."""
    return {each.entry_id: ids_to_bytes(completions[each.entry_id]) for each in shown if each.completion is None}


def demonstrations_of(
    shown: Sequence[Shown],
    tokens: Mapping[UUID, Tokens],
    completions: Mapping[UUID, tuple[int, ...]],
    decode: Decode,
) -> list[tuple[UUID, Demonstration]]:
    """Each with its turn's id; of a turn whose tokens are damaged nothing can be shown."""
    return [
        (
            each.turn.id,
            Demonstration(
                episode=each.episode.id.hex,
                conversation=each.turn.conversation_id.hex,
                observation=decode(tokens[each.turn.id].prompt_ids),
                prompt_ids=tokens[each.turn.id].prompt_ids,
                utterance=each.text,
                completion_ids=completions[each.entry_id],
                instead=decode(tokens[each.turn.id].completion_ids),
                instead_ids=tokens[each.turn.id].completion_ids,
            ),
        )
        for each in shown
        if each.turn.id in tokens and tokens[each.turn.id].prompt_ids and completions[each.entry_id]
    ]
