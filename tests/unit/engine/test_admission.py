"""First come, first served, within rows, adapters, prefill and memory."""

from collections import deque

import pytest

from engine.admission import SchedulerLimits, choose_joining
from engine.generation import Generation
from engine.lora import Adapter
from engine.replying import Ending, ReplyText
from engine.sampling import SamplerRow, Sampling
from tests.fixtures.tiny_model import byte_tokenizer

TOKENIZER = byte_tokenizer().backend_tokenizer
ADAPTERS = {name: Adapter(name, f"/{name}", 1, {}) for name in "ab"}
WIDE = {"max_num_seqs": 9, "max_waiting": 9, "max_loras": 9, "max_batched_tokens": 999, "max_cached_tokens": 9999}


def make_generation(prompt: int = 10, reply: int = 10, adapter: str | None = None) -> Generation:
    ending = Ending(max_tokens=reply)
    ids = [1] * prompt
    return Generation(
        prompt_ids=ids,
        sampler=SamplerRow(Sampling()),
        adapter=ADAPTERS[adapter] if adapter else None,
        ending=ending,
        reply=ReplyText(TOKENIZER, ids, ending),
        streams=False,
        listen=lambda _: None,
    )


def joined(running: list[Generation], waiting: list[Generation], **limits: int) -> int:
    line = deque(waiting)
    joining = choose_joining(running, line, SchedulerLimits(**WIDE | limits))
    assert [*joining, *line] == waiting
    return len(joining)


@pytest.mark.parametrize(
    ("limits", "count"),
    [
        ({}, 4),
        ({"max_num_seqs": 3}, 2),  # one runs already
        ({"max_batched_tokens": 25}, 2),  # two prompts of 10, a third would make 30
        ({"max_batched_tokens": 5}, 1),  # one that is longer than the limit still gets in, alone
        ({"max_cached_tokens": 60}, 2),  # three rows of 20 columns
    ],
)
def test_as_many_join_as_every_limit_allows(limits: dict[str, int], count: int) -> None:
    assert joined([make_generation()], [make_generation() for _ in range(4)], **limits) == count


def test_one_request_larger_than_the_memory_is_served_alone() -> None:
    assert joined([], [make_generation(500, 500)], max_cached_tokens=100) == 1
    assert joined([make_generation()], [make_generation(500, 500)], max_cached_tokens=100) == 0


def test_an_adapter_too_many_waits_and_so_does_who_stands_behind_it() -> None:
    waiting = [make_generation(adapter="a"), make_generation(adapter="b"), make_generation(adapter="a")]
    assert joined([make_generation()], waiting, max_loras=1) == 1
    assert joined([make_generation()], waiting, max_loras=2) == 3
