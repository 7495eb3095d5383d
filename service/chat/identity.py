"""Which conversation and which episode a request belongs to: named by the client, found by its history, or new."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.domain.adapters import AdapterName
from core.domain.conversations import ConversationState, Grouping, Message, extend_head, first_head, split_history
from core.domain.episodes import Arm, EpisodeEnd
from core.domain.errors import InvalidRequestError, NotFoundError
from core.domain.signatures import Signer
from core.engine.generation import TRUNCATED
from core.erasure.tombstones import gone, was_erased
from core.storage.models import Conversation, Episode, Turn
from core.storage.repositories import adapters, conversations, turns
from core.storage.repositories.rollouts import Route
from core.storage.turn_log.opening import Opening
from service.chat.episodes import start_episode

LONGEST_ID = 128


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who says something to whom: what a conversation is looked up and opened by."""

    agent_id: UUID
    key_id: UUID
    end_user: str | None
    conversation: str | None
    tags: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Heads:
    """The head hashes of a request: before what is new in it, and after."""

    history: bytes
    request: bytes
    new: list[Message]
    resent: bool

    @classmethod
    def of(cls, speaker: Speaker, messages: list[Message]) -> "Heads":
        history, new = split_history(messages)
        head = extend_head(first_head(speaker.agent_id, speaker.end_user, speaker.key_id), history)
        return cls(head, extend_head(head, new), list(new), bool(history))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a turn will stand, how many turns its episode had before it, and the version that serves."""

    agent_id: UUID
    conversation_id: UUID
    episode_id: UUID
    adapter: AdapterName
    index: int
    turn_count: int
    messages: list[Message]
    opening: Opening | None = None
    """What opened the conversation without waiting for the disk, where this is its first turn."""


async def find_or_open(
    session: AsyncSession, signer: Signer, speaker: Speaker, heads: Heads, retry_window: timedelta
) -> Conversation | Turn:
    """The conversation that this request continues or opens, or the turn that it merely asks for again.

    A window of nothing finds no retry: who pins a version wants to hear that version. Raises GoneError for a
    conversation that was erased.
    """
    if speaker.conversation is not None:
        conversation = await _find_named(session, signer, speaker)
        if heads.resent and (
            again := await _find_retry(session, speaker.agent_id, conversation.id, heads, retry_window)
        ):
            return again
        return conversation
    if not heads.resent:
        return await _open(session, speaker, Grouping.NEW)
    ending = await conversations.list_ending_in(session, speaker.agent_id, heads.history)
    if len(ending) == 1:
        found = await conversations.lock_conversation(session, ending[0].id)
        if found.head_hash == heads.history:  # else another request has continued it since
            return found
    elif ending:
        return await _open(session, speaker, Grouping.AMBIGUOUS)
    again = await _find_retry(session, speaker.agent_id, None, heads, retry_window)
    if again is not None:
        return again
    continued = await conversations.find_turn_after(session, speaker.agent_id, heads.history)
    if continued is not None:
        return await _open(session, speaker, Grouping.BRANCH, parent=continued.conversation_id)
    return await _open(session, speaker, Grouping.NEW)


async def take_place(
    session: AsyncSession,
    conversation: Conversation,
    messages: list[Message],
    heads: Heads,
    route: Route,
    pinned_id: UUID | None,
) -> Place:
    """The episode that serves the next turn: the open one, or a new one on current routing."""
    conversation = await conversations.lock_conversation(session, conversation.id)
    episode = await conversations.newest_episode(session, conversation.id)
    if episode is not None and episode.ended_at is None and not _serves(episode, pinned_id):
        await conversations.end_episode(session, episode.id, EpisodeEnd.PINNED)
        episode = await start_episode(session, conversation, episode.ordinal + 1, route, pinned_id)
    elif episode is None or episode.ended_at is not None:
        ordinal = 0 if episode is None else episode.ordinal + 1
        episode = await start_episode(session, conversation, ordinal, route, pinned_id)
    conversation.state = ConversationState.OPEN
    conversation.closed_at = None
    conversation.due_at = None
    conversation.last_turn_at = func.clock_timestamp()  # else a returning user's new episode would be idle at once
    name = (await adapters.names_of(session, [episode.adapter_id]))[episode.adapter_id]
    last = await turns.newest_turn(session, conversation.id)
    continues = last is not None and last.head_hash == heads.history
    return Place(
        conversation.agent_id,
        conversation.id,
        episode.id,
        name,
        0 if last is None else last.index + 1,
        episode.turn_count,
        heads.new if continues else messages,
    )


def _serves(episode: Episode, pinned_id: UUID | None) -> bool:
    """Whether an open episode may go on: a pin neither joins another version's episode nor outlasts its requests."""
    if pinned_id is None:
        return episode.arm is not Arm.PINNED
    return episode.arm is Arm.PINNED and episode.adapter_id == pinned_id


async def branch_off(session: AsyncSession, place: Place) -> Place:
    """A conversation of its own for a turn that lost the race for its place; of the version that has already spoken."""
    parent = await conversations.get_conversation(session, place.conversation_id)
    episode = await conversations.get_episode(session, place.episode_id)
    speaker = Speaker(parent.agent_id, parent.key_id, parent.end_user, None, parent.tags)
    conversation = await _open(session, speaker, Grouping.BRANCH, parent=parent.id)
    own = await conversations.add_episode(
        session,
        Episode(
            id=ids.new_id(),
            agent_id=conversation.agent_id,
            conversation_id=conversation.id,
            ordinal=0,
            adapter_id=episode.adapter_id,
            arm=episode.arm,
            propensity=episode.propensity,
            turn_count=0,
        ),
    )
    return Place(conversation.agent_id, conversation.id, own.id, place.adapter, 0, 0, place.messages)


async def _find_named(session: AsyncSession, signer: Signer, speaker: Speaker) -> Conversation:
    """The conversation that the client names; one of a new name is opened, one of an erased name never again."""
    name = speaker.conversation or ""
    own = ids.parse(ids.Prefix.CONVERSATION, name)
    if own is not None:
        found = await conversations.find_conversation_by_id(session, own)
        if found is None and await was_erased(session, signer, speaker.agent_id, name):
            raise gone("conversation")
        if found is None or found.agent_id != speaker.agent_id:
            raise NotFoundError(f"There is no conversation {name} with this agent.", code="conversation_not_found")
        return found
    found = await conversations.find_conversation(session, speaker.agent_id, check_name(name))
    if found is not None:
        return found
    opened = await _open(session, speaker, Grouping.CLIENT, external_id=name)
    # Asked only now: an erasure that this insert had to wait for has left its tombstone.
    if await was_erased(session, signer, speaker.agent_id, name):
        raise gone("conversation")
    return opened


def check_name(name: str) -> str:
    """A client's own id for a conversation, if it may be one."""
    if not 0 < len(name) <= LONGEST_ID or not name.isprintable():
        raise InvalidRequestError(
            f"A conversation id has 1 to {LONGEST_ID} printable characters.", param="metadata.conversation_id"
        )
    return name


async def _find_retry(
    session: AsyncSession, agent_id: UUID, conversation_id: UUID | None, heads: Heads, window: timedelta
) -> Turn | None:
    """The whole answer to this very request by a version that was not pinned, if one was given lately."""
    oldest = datetime.now(UTC) - window
    for turn in await conversations.list_answers(session, agent_id, heads.history, heads.request, conversation_id):
        if turn.created_at > oldest and turn.finish_reason != TRUNCATED:
            episode = await conversations.get_episode(session, turn.episode_id)
            if episode.arm is not Arm.PINNED:
                return turn
    return None


async def _open(
    session: AsyncSession,
    speaker: Speaker,
    grouped: Grouping,
    *,
    external_id: str | None = None,
    parent: UUID | None = None,
) -> Conversation:
    conversation = Conversation(
        id=ids.new_id(),
        agent_id=speaker.agent_id,
        external_id=external_id,
        end_user=speaker.end_user,
        key_id=speaker.key_id,
        tags=speaker.tags,
        state=ConversationState.OPEN,
        grouped=grouped,
        parent_id=parent,
    )
    try:
        opened = await conversations.add_conversation(session, conversation)
    except IntegrityError as error:  # its parent is not there any more
        raise gone("conversation") from error
    if opened is None:  # another request of the same moment opened it
        assert external_id is not None
        opened = await conversations.find_conversation(session, speaker.agent_id, external_id)
        if opened is None:
            raise gone("conversation")
    return opened
