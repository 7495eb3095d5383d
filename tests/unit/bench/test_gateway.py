"""What the bench of gateways makes of its rounds, and what its mock engine says."""

from typing import Any

import orjson
import pytest

from bench.gateway.__main__ import in_turn
from bench.gateway.endurance import growth
from bench.gateway.engine import answer, events, ids, prompt_tokens, reply
from bench.gateway.gateways import chosen
from bench.gateway.killing import Toll, compare
from bench.gateway.reporting import difference, ratio
from bench.gateway.scaling import taken_out
from bench.gateway.spread import quantile, spread
from bench.gateway.table import goals
from bench.gateway.targets import Target


def test_a_quantile_is_the_smallest_value_that_so_many_do_not_exceed() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [quantile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50.0, 95.0, 99.0, 100.0]
    assert quantile(values[:60], 0.99) == 60.0, "of sixty it is the largest"


def test_a_spread_is_in_milliseconds_and_nothing_where_nothing_was_measured() -> None:
    assert spread([0.002, 0.001, 0.003]) == {"p50": 2.0, "p95": 3.0, "p99": 3.0, "most": 3.0, "count": 3}
    assert spread([]) == {}


def test_differences_and_ratios_are_taken_within_a_round_so_that_a_slow_round_counts_as_any_other() -> None:
    def figures(p50: float, rate: float) -> dict[str, Any]:
        return {"all_turns": {"p50": p50}, "per_second": rate}

    rounds = [
        {"one at a time": {"direct": figures(1.0, 100.0), "nock": figures(3.0, 50.0)}},
        {"one at a time": {"direct": figures(10.0, 10.0), "nock": figures(12.0, 5.0)}},
        {"one at a time": {"direct": figures(1.0, 100.0), "nock": figures(3.5, 40.0)}},
    ]
    assert difference(rounds, "one at a time", "nock", "all_turns", "p50") == 2.0
    assert ratio(rounds, "one at a time", "nock", "direct") == 0.5


def test_the_mock_engine_says_what_vllm_says_to_who_asks_for_tokens() -> None:
    told = orjson.loads(b'{"id":"chatcmpl-1",' + answer(7, 3, True, True))
    choice = told["choices"][0]
    assert choice["message"]["content"] == reply(3)
    assert told["prompt_token_ids"] == [*range(1000, 1007)]
    assert choice["token_ids"] == [1007, 1008, 1009]
    assert [entry["logprob"] for entry in choice["logprobs"]["content"]] == [-0.25] * 3
    assert told["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    plain = orjson.loads(b'{"id":"chatcmpl-1",' + answer(7, 3, False, False))
    assert plain["choices"][0]["logprobs"] is plain["choices"][0]["token_ids"] is plain["prompt_token_ids"] is None


def test_the_mock_engines_stream_is_its_answer_in_pieces() -> None:
    chunks = [orjson.loads(b'{"id":"chatcmpl-1",' + event) for event in events(7, 3, True, True, True)]
    said = [choice for chunk in chunks for choice in chunk["choices"]]
    assert "".join(choice["delta"]["content"] for choice in said) == reply(3)
    assert [id for choice in said for id in choice.get("token_ids", [])] == [1007, 1008, 1009]
    assert [choice["finish_reason"] for choice in said] == [None, None, None, "stop"]
    assert chunks[0]["prompt_token_ids"] == [*range(1000, 1007)]
    assert chunks[-1]["usage"]["completion_tokens"] == 3


def test_a_later_prompt_begins_with_the_earlier_one_and_its_reply() -> None:
    first = [{"role": "user", "content": "Where is my order?"}]
    second = [*first, {"role": "assistant", "content": reply(20)}, {"role": "user", "content": "And now?"}]
    before, after = prompt_tokens(first) + 20, prompt_tokens(second)
    assert after >= before
    assert orjson.loads(ids(0, after))[:before] == orjson.loads(ids(0, before))


def test_a_reply_counts_as_kept_by_its_id_however_the_gateway_writes_it() -> None:
    rows = {"01930000000070008000000000000001", "01930000000070008000000000000002"}
    received = ["turn_01930000000070008000000000000001", "01930000-0000-7000-8000-000000000003"]
    toll = compare(received, rows, cut=4)
    assert (toll.received, toll.found, toll.lost, toll.cut) == (2, 1, 1, 4)


def test_each_target_is_first_in_some_round() -> None:
    targets = [Target(name, "", "model") for name in ("direct", "nock", "litellm")]
    assert [in_turn(targets, number)[0].name for number in range(4)] == ["direct", "nock", "litellm", "direct"]
    assert {target.name for target in in_turn(targets, 1)} == {"direct", "nock", "litellm"}


def test_direct_is_always_among_the_targets_and_an_unknown_one_is_refused() -> None:
    assert chosen("nock") == ["direct", "nock"]
    with pytest.raises(SystemExit, match="no target 'knock'"):
        chosen("knock")


def test_memory_that_grows_early_and_then_stays_has_not_grown() -> None:
    def point(turns: int, memory: float) -> dict[str, Any]:
        return {"turns": turns, "resident_mb": memory}

    assert growth([point(1, 50.0), point(2, 100.0), point(3, 100.0), point(4, 100.0)]) == 0.0
    leaking = [point(turns, turns / 1000) for turns in range(0, 40_000, 5_000)]
    assert round(growth(leaking), 6) == 10.0


def test_what_load_and_engine_took_of_the_cores_is_taken_out() -> None:
    assert taken_out({"per_second": 150.0, "client_cpu": 0.3, "engine_cpu": 0.2}, cores=2) == 200.0


def test_a_goal_is_judged_by_what_was_measured() -> None:
    found = {
        "nock": {
            "added": {"later_turns": {"p50": 1.4, "p99": 6.0}},
            "rate_over": {case: {"litellm": 11.0} for case in ("16 in flight", "64 in flight")},
        },
        "litellm": {},
    }
    told = goals(found, {"nock": Toll(received=10, found=9, cut=0)})
    assert [line.split()[0] for line in told] == ["met", "MISSED", "MISSED", "met", "met"]
