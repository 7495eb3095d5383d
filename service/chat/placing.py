"""Give a turn its place: at once where that is plain to see, else by identity's rules under a lock."""

from dataclasses import dataclass
from datetime import timedelta

from core.domain import ids
from core.domain.adapters import AdapterName
from core.domain.conversations import ConversationState, Grouping, Message
from core.domain.episodes import Arm
from core.domain.erasure import Named
from core.erasure.tombstones import hash_of_name
from core.storage.models import Turn
from core.storage.repositories import adapters, conversations
from core.storage.repositories.rollouts import Route
from core.storage.turn_log.finding import Finding, Found, Sought
from core.storage.turn_log.opening import Opening
from service.chat.episodes import choose
from service.chat.identity import Heads, Place, Speaker, check_name, find_or_open, take_place
from service.gateway import Gateway


@dataclass(frozen=True, slots=True)
class Repetition:
    """A turn that was answered before, and the version that spoke."""

    turn: Turn
    adapter: AdapterName


async def place_turn(
    gateway: Gateway,
    route: Route,
    speaker: Speaker,
    heads: Heads,
    messages: list[Message],
    pinned: AdapterName | None,
) -> Place | Repetition:
    """Where the turn will stand, committed before the engine is asked; or the turn that it merely asks for again."""
    if pinned is None and (place := await find_place(gateway, route, speaker, heads, messages)):
        return place
    async with gateway.database.transaction() as session:
        pinned_id = None if pinned is None else (await adapters.get_version(session, pinned)).id
        # Who pins a version wants to hear that version, though another has answered.
        window = timedelta(seconds=0 if pinned else gateway.settings.retry_window_seconds)
        found = await find_or_open(session, gateway.signer, speaker, heads, window)
        if isinstance(found, Turn):
            adapter_id = (await conversations.get_episode(session, found.episode_id)).adapter_id
            return Repetition(found, (await adapters.names_of(session, [adapter_id]))[adapter_id])
        return await take_place(session, found, messages, heads, route, pinned_id)


async def find_place(
    gateway: Gateway, route: Route, speaker: Speaker, heads: Heads, messages: list[Message]
) -> Place | None:
    """The next place of an open conversation, or the first of a new one; None where it takes a closer look: a retry, a
    branch, an episode that has ended or is about to, a name that was erased.

    Nothing is locked. The turn is written only where its place is still free, and becomes a branch where it is not.
    """
    sought = _sought(speaker, heads)
    if sought is None:
        return await _open(gateway, route, speaker, Grouping.NEW, messages)
    finding = await gateway.turns.finding.ask(sought)
    if len(finding.conversations) == 1:
        return _continue(gateway, route, speaker, heads, messages, finding.conversations[0])
    grouped = _grouping_of_new(sought, finding)
    return None if grouped is None else await _open(gateway, route, speaker, grouped, messages)


def _sought(speaker: Speaker, heads: Heads) -> Sought | None:
    """What to look for; nothing where there is neither a name nor a history."""
    if speaker.conversation is None:
        return Sought(speaker.agent_id, head=heads.history) if heads.resent else None
    own = ids.parse(ids.Prefix.CONVERSATION, speaker.conversation)
    if own is not None:
        return Sought(speaker.agent_id, conversation_id=own)
    return Sought(speaker.agent_id, name=check_name(speaker.conversation))


def _grouping_of_new(sought: Sought, finding: Finding) -> Grouping | None:
    """How a conversation that nobody has opened yet is grouped; None where it is not a new one."""
    if finding.conversations:
        return Grouping.AMBIGUOUS
    if sought.conversation_id is not None or finding.is_continued:
        return None
    return Grouping.NEW if sought.name is None else Grouping.CLIENT


def _continue(
    gateway: Gateway, route: Route, speaker: Speaker, heads: Heads, messages: list[Message], found: Found
) -> Place | None:
    reply_time = timedelta(seconds=gateway.pool.reply_seconds)
    follows = found.head == heads.history
    if (
        found.agent_id != speaker.agent_id
        or found.state is not ConversationState.OPEN
        or found.episode_id is None
        or found.adapter_number is None
        or found.has_ended
        or found.arm is Arm.PINNED
        or (heads.resent and not follows)  # it may be asked for again
        or found.silent + reply_time >= timedelta(seconds=route.agent.idle_seconds)
    ):
        return None
    return Place(
        found.agent_id,
        found.conversation_id,
        found.episode_id,
        AdapterName(route.agent.name, found.adapter_number),
        found.last_index + 1,
        found.turn_count,
        heads.new if follows else messages,
    )


async def _open(
    gateway: Gateway, route: Route, speaker: Speaker, grouped: Grouping, messages: list[Message]
) -> Place | None:
    """A new conversation on current routing; None where somebody was quicker or the version was just taken out."""
    conversation_id, episode_id = ids.new_id(), ids.new_id()
    served = choose(conversation_id, speaker.end_user, route)
    assert served.adapter is not None
    name, agent_id = speaker.conversation, speaker.agent_id
    opening = Opening(
        conversation_id,
        agent_id,
        name,
        None if name is None else hash_of_name(gateway.signer, Named.EXTERNAL_ID, agent_id, name),
        speaker.end_user,
        speaker.key_id,
        speaker.tags,
        grouped,
        episode_id,
        served.adapter_id,
        served.arm,
        served.propensity,
        served.canary_id,
    )
    if not await gateway.turns.opening.ask(opening):
        return None
    return Place(agent_id, conversation_id, episode_id, served.adapter, 0, 0, messages, opening)
