"""Turns become transitions: who bootstraps from what, who is credited, and who is left out."""

import math
from collections.abc import Collection, Sequence
from uuid import UUID

import pytest

from core.domain.conversations import ConversationState
from core.domain.episodes import EpisodeEnd
from core.domain.ids import new_id
from core.domain.sampling import Learnable
from core.domain.tokens import Tokens
from core.storage.models import Conversation, Episode, Turn
from worker.archer.types import Transition
from worker.replay.histories import History
from worker.replay.outliers import Fences
from worker.replay.transitions import Lesson, lessons_of

STABLE, OLD = new_id(), new_id()
BEGIN = (26,)
"""How a reply begins: the letter z."""


def words(ids: tuple[int, ...]) -> str:
    """A tokenizer that a person can read: 1 is the letter a."""
    return "".join(chr(ord("a") + token - 1) for token in ids)


def spoken(prompt: str, completion: str, logprobs: tuple[float, ...] | None = None) -> Tokens:
    def ids(text: str) -> tuple[int, ...]:
        return tuple(ord(letter) - ord("a") + 1 for letter in text)

    return Tokens(ids(prompt), ids(completion), (-0.5,) * len(completion) if logprobs is None else logprobs)


def episode(ended_by: EpisodeEnd | None, *, adapter: UUID = STABLE) -> Episode:
    return Episode(id=new_id(), adapter_id=adapter, ended_by=ended_by)


def turn(learnable: Learnable = Learnable.ACTOR, **sampling: float | None) -> Turn:
    return Turn(
        id=new_id(), learnable=learnable, sampling=dict(sampling), reply={"role": "assistant", "content": "said"}
    )


def transitions(
    turns: Sequence[Turn], episodes: Sequence[Episode], tokens: Sequence[Tokens | None], rewards: Sequence[float] = ()
) -> list[Transition]:
    return [lesson.transition for lesson in lessons(turns, episodes, tokens, rewards)]


def lessons(
    turns: Sequence[Turn],
    episodes: Sequence[Episode],
    tokens: Sequence[Tokens | None],
    rewards: Sequence[float] = (),
    *,
    state: ConversationState = ConversationState.MATURED,
    is_told_whole: bool = False,
    weight: float = 1.0,
    fences: Fences | None = None,
    too_stale: Collection[UUID] = (),
) -> list[Lesson]:
    conversation = Conversation(id=new_id(), state=state)
    history = History(conversation, turns, episodes, rewards or [0.0] * len(turns), is_told_whole, weight)
    known = {one.id: its for one, its in zip(turns, tokens, strict=True) if its is not None}
    return list(
        lessons_of(
            history,
            known,
            words,
            generation_prompt=BEGIN,
            start_version=STABLE,
            fences=fences,
            too_stale=too_stale,
        )
    )


THREE = (spoken("a", "b"), spoken("abc", "d"), spoken("abcde", "f"))


def test_each_turn_bootstraps_from_the_next_prompt_and_the_last_one_ends() -> None:
    closed = episode(EpisodeEnd.CLOSED)
    first, second, third = transitions([turn(), turn(), turn()], [closed] * 3, THREE, [0.0, 0.5, 1.0])
    assert (first.observation, first.utterance, first.next_observation) == ("a", "b", "abc")
    assert (second.observation, second.utterance, second.next_observation) == ("abc", "d", "abcde")
    assert (third.observation, third.utterance, third.next_observation) == ("abcde", "f", "abcdefz")
    assert [one.reward for one in (first, second, third)] == [0.0, 0.5, 1.0]
    assert [one.terminal for one in (first, second, third)] == [False, False, True]
    assert [one.next_prompt_ids for one in (first, second, third)] == [
        (1, 2, 3),
        (1, 2, 3, 4, 5),
        (1, 2, 3, 4, 5, 6, 26),
    ]
    assert len({one.episode for one in (first, second, third)}) == 1
    assert first.prompt_ids == (1,)
    assert (first.completion_ids, first.behaviour_logprobs) == ((2,), (-0.5,))


@pytest.mark.parametrize("ended_by", [EpisodeEnd.CAP, EpisodeEnd.REJECTED, None])
def test_a_conversation_that_was_cut_bootstraps_from_where_the_next_reply_would_begin(
    ended_by: EpisodeEnd | None,
) -> None:
    (only,) = transitions([turn()], [episode(ended_by)], [spoken("a", "b")])
    assert (only.terminal, only.next_observation, only.next_prompt_ids) == (False, "abz", (1, 2, 26))


@pytest.mark.parametrize("ended_by", [EpisodeEnd.REJECTED, EpisodeEnd.IDLE, EpisodeEnd.CLOSED])
def test_an_episode_that_another_one_continues_bootstraps_into_it(ended_by: EpisodeEnd) -> None:
    before, after = episode(ended_by, adapter=OLD), episode(EpisodeEnd.FINAL)
    first, second = transitions([turn(), turn()], [before, after], THREE[:2], [0.0, 1.0])
    assert (first.terminal, first.next_observation, first.reward) == (False, "abc", 0.0)
    assert first.next_prompt_ids == second.prompt_ids
    assert (second.terminal, second.reward) == (True, 1.0)
    assert first.episode != second.episode
    assert (first.on_policy, second.on_policy) == (False, True)


def test_a_turn_that_teaches_nobody_is_left_out_and_breaks_the_chain() -> None:
    closed = episode(EpisodeEnd.CLOSED)
    first, third = transitions([turn(), turn(Learnable.NONE), turn()], [closed] * 3, THREE, [0.0, 0.5, 1.0])
    assert (first.next_observation, first.terminal) == ("abc", False)  # the state that the lost turn was spoken in
    assert (third.observation, third.reward, third.terminal) == ("abcde", 1.0, True)
    assert first.episode != third.episode


def test_a_turn_without_tokens_is_left_out_and_the_one_before_ends_with_its_own_reply() -> None:
    closed = episode(EpisodeEnd.CLOSED)
    first, third = transitions([turn(), turn(), turn()], [closed] * 3, [THREE[0], None, THREE[2]])
    assert (first.next_observation, first.terminal) == ("abz", False)
    assert first.episode != third.episode


def test_a_following_turn_without_prompt_tokens_is_left_out_likewise() -> None:
    closed = episode(EpisodeEnd.CLOSED)
    (first,) = transitions([turn(), turn()], [closed] * 2, [THREE[0], spoken("", "d")])
    assert (first.next_observation, first.next_prompt_ids, first.terminal) == ("abz", (1, 2, 26), False)


def test_a_last_turn_that_is_left_out_ends_nothing_for_the_one_before() -> None:
    closed = episode(EpisodeEnd.CLOSED)
    (first,) = transitions([turn(), turn(Learnable.NONE)], [closed] * 2, THREE[:2], [0.0, 1.0])
    assert (first.terminal, first.reward, first.next_observation) == (False, 0.0, "abc")


def test_only_turns_meant_for_the_actor_train_it() -> None:
    closed = episode(EpisodeEnd.CLOSED)
    first, second = transitions([turn(), turn(Learnable.CRITIC)], [closed] * 2, THREE[:2])
    assert (first.trains_actor, second.trains_actor) == (True, False)


def test_log_probs_that_are_none_leave_the_turn_to_the_critic() -> None:
    broken = spoken("a", "b", (math.nan,))
    (only,) = transitions([turn()], [episode(EpisodeEnd.CLOSED)], [broken])
    assert not only.trains_actor


def test_a_reply_without_token_ids_is_read_as_it_was_sent() -> None:
    (only,) = transitions([turn(Learnable.CRITIC)], [episode(EpisodeEnd.CLOSED)], [spoken("a", "")])
    assert (only.utterance, only.next_observation) == ("said", "az")


@pytest.mark.parametrize(
    ("sampling", "temperature"), [({}, 1.0), ({"temperature": None}, 1.0), ({"temperature": 0.7}, 0.7)]
)
def test_the_temperature_is_the_one_that_was_sampled_at(sampling: dict[str, float | None], temperature: float) -> None:
    (only,) = transitions([turn(**sampling)], [episode(EpisodeEnd.CLOSED)], [spoken("a", "b")])
    assert only.temperature == temperature


def test_all_episodes_of_a_conversation_are_held_out_together() -> None:
    first, second = transitions([turn(), turn()], [episode(EpisodeEnd.IDLE), episode(EpisodeEnd.CLOSED)], THREE[:2])
    assert first.episode != second.episode
    assert first.held_out_by == second.held_out_by


@pytest.mark.parametrize("ended_by", [EpisodeEnd.CAP, EpisodeEnd.REJECTED])
def test_what_was_said_of_the_whole_conversation_ends_it_whatever_cut_it(ended_by: EpisodeEnd) -> None:
    (cut,) = lessons([turn()], [episode(ended_by)], THREE[:1], [1.0])
    (told,) = lessons([turn()], [episode(ended_by)], THREE[:1], [1.0], is_told_whole=True)
    assert (cut.transition.terminal, told.transition.terminal) == (False, True)


def test_an_episode_that_goes_on_is_not_over_though_an_outcome_speaks_of_it() -> None:
    (going_on,) = lessons([turn()], [episode(None)], THREE[:1], [1.0], is_told_whole=True)
    assert not going_on.transition.terminal


@pytest.mark.parametrize("state", [ConversationState.AWAITING, ConversationState.EXPIRED])
def test_where_no_outcome_is_known_the_last_turn_is_left_out_and_the_one_before_bootstraps(
    state: ConversationState,
) -> None:
    idle = episode(EpisodeEnd.IDLE)
    first, second = lessons([turn(), turn(), turn()], [idle] * 3, THREE, [0.0, 0.5, 0.0], state=state)
    assert [one.transition.terminal for one in (first, second)] == [False, False]
    assert [one.transition.reward for one in (first, second)] == [0.0, 0.5]
    assert second.transition.next_observation == "abcde"
    assert lessons([turn()], [idle], THREE[:1], state=state) == []


def test_a_reward_beyond_the_fences_teaches_as_the_fence_and_is_kept_as_the_ledger_has_it() -> None:
    (lesson,) = lessons([turn()], [episode(EpisodeEnd.CLOSED)], THREE[:1], [500.0], fences=Fences(-4.0, 4.0))
    assert (lesson.transition.reward, lesson.earned) == (4.0, 500.0)


def test_what_a_version_said_long_ago_trains_the_critic_alone() -> None:
    old = episode(EpisodeEnd.CLOSED, adapter=UUID(int=9))
    (lesson,) = lessons([turn()], [old], THREE[:1], too_stale={UUID(int=9)})
    assert not lesson.transition.trains_actor
    (lesson,) = lessons([turn()], [old], THREE[:1], too_stale={STABLE})
    assert lesson.transition.trains_actor


def test_a_turn_counts_as_much_as_its_conversation() -> None:
    (lesson,) = lessons([turn()], [episode(EpisodeEnd.CLOSED)], THREE[:1], weight=2.5)
    assert lesson.transition.weight == 2.5
