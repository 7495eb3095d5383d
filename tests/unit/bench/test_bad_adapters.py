"""The bad adapters are bad in the way they are meant to be, and a run is repeated by its seed."""

import statistics

import pytest

from bench.bad_adapters.agents import VERSIONS, gaming, in_service, rude, silent
from bench.bad_adapters.trying import CONVERSATIONS, try_out

CUSTOMERS = range(512)


def worth(version):
    return statistics.mean(version(customer).worth for customer in CUSTOMERS)


@pytest.mark.parametrize("version", [rude, silent, gaming])
def test_a_bad_version_is_worth_far_less(version):
    assert worth(version) < worth(in_service) - 0.2


def test_who_is_not_answered_says_nothing_and_others_are_served_as_ever():
    for customer in CUSTOMERS:
        outcome = silent(customer)
        assert outcome == in_service(customer) or (outcome.worth == 0 and not outcome.is_told)


def test_a_gaming_one_closes_everything():
    assert all(gaming(customer).is_closed for customer in CUSTOMERS)


@pytest.mark.parametrize(("name", "by"), [("rude", "closed"), ("gaming", "worth"), ("silent", "silence")])
def test_each_is_caught_by_what_is_there_for_it(name, by):
    tried = try_out(VERSIONS[name], [0.25], seed=0)
    assert (tried.decision, tried.by) == ("roll_back", by)
    assert tried.exposed < tried.conversations < CONVERSATIONS
    assert try_out(VERSIONS[name], [0.25], seed=0) == tried
