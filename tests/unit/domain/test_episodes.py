"""What an episode's end means."""

from core.domain.episodes import EpisodeEnd, is_terminal


def test_only_an_end_after_which_nothing_of_value_can_follow_is_terminal() -> None:
    assert {end: is_terminal(end) for end in EpisodeEnd} == {
        EpisodeEnd.CLOSED: True,
        EpisodeEnd.FINAL: True,
        EpisodeEnd.IDLE: True,
        EpisodeEnd.CAP: False,  # it might have gone on
        EpisodeEnd.REJECTED: False,
        EpisodeEnd.PINNED: False,
        EpisodeEnd.ERASED: False,
    }
