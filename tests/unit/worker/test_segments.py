"""Parts of an offline comparison, of evidence made by hand."""

import pytest
import torch

from worker.archer.evidence import Evidence
from worker.archer.off_policy import Estimate
from worker.evaluation.segments import segments_of

PEOPLE = 60


def evidence(*, heavy: int = 0) -> Evidence:
    """A conversation of each of PEOPLE end users and a second one of the first; `heavy` of them weigh a thousand."""
    conversations = PEOPLE + 1
    weight = torch.ones(conversations).double()
    weight[:heavy] = 1_000.0
    return Evidence(
        conversations=[str(number) for number in range(conversations)],
        unit=torch.tensor([*range(PEOPLE), 0]),
        logged=torch.zeros(conversations).double(),
        difference=torch.full((conversations,), 0.5).double(),
        fitted=torch.zeros(conversations).double(),
        gains=torch.tensor([[0.25, 0.125, 0.125]]).double().repeat(conversations, 1),
        trust=0.0,
        weight=weight,
        effective=60.0,
        covered=Estimate(1.0, 0.9, 1.1),
        truncated_share=0.0,
        explained_variance=None,
        penalty=1.0,
        replies=0,
    )


def test_what_the_first_reply_and_later_ones_bring_add_up() -> None:
    place = segments_of(evidence(), [{}] * 61, [3] * 61)["place"]
    assert place["first"]["difference"]["mean"] == pytest.approx(0.25)
    assert place["later"]["difference"]["mean"] == pytest.approx(0.25)


def test_conversations_are_told_apart_by_their_length() -> None:
    found = segments_of(evidence(), [{}] * 61, [1] * 55 + [2, 3, 4, 7, 8, 30])["turns"]
    assert {name: part["conversations"] for name, part in found.items()} == {"1": 55, "2-3": 2, "4-7": 2, "8+": 2}
    assert found["1"]["difference"]["mean"] == pytest.approx(0.5)
    assert found["8+"]["difference"] is None


def test_a_tag_is_named_only_if_as_many_end_users_have_it_as_the_floor_asks() -> None:
    tags = [{"plan": "gold"}] * 50 + [{"plan": "silver"}] * 11
    assert list(segments_of(evidence(), tags, [1] * 61)["tags"]) == ["plan=gold"]
    # Fifty conversations, of forty-nine people: the first one's second is among them.
    tags = [{"plan": "gold"}] * 49 + [{}] * 11 + [{"plan": "gold"}]
    assert segments_of(evidence(), tags, [1] * 61)["tags"] == {}


def test_a_part_in_which_a_few_weigh_all_has_no_difference() -> None:
    part = segments_of(evidence(heavy=2), [{}] * 61, [1] * 61)["turns"]["1"]
    assert part["effective_sample_size"] < 3
    assert part["difference"] is None
