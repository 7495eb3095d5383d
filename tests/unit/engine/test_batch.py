"""Batched, joined-late, mixed-adapter decoding against one full forward pass a token, through transformers and peft."""

import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from engine.batch import Row, RunningBatch
from engine.sampling import Sampled, SamplerRow, Sampling
from tests.unit.engine.conftest import Opened


@dataclass(eq=False)
class Talk(Row):
    """A row that remembers what it was told."""

    adapter_name: str | None = None
    length: int = 1
    heard: list[tuple[int, float]] = field(default_factory=list)


class Reference:
    """The slow way: everything again for each token, one row at a time."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self._networks = {None: AutoModelForCausalLM.from_pretrained(folders["model"]).eval()}
        for name in ("all", "some"):
            base = AutoModelForCausalLM.from_pretrained(folders["model"])
            self._networks[name] = PeftModel.from_pretrained(base, folders[name]).eval()

    @torch.inference_mode()
    def reply(self, prompt: list[int], adapter: str | None, length: int) -> list[tuple[int, float]]:
        tokens, heard = list(prompt), []
        for _ in range(length):
            logprobs = self._networks[adapter](input_ids=torch.tensor([tokens])).logits[0, -1].log_softmax(-1)
            heard.append((int(logprobs.argmax()), float(logprobs.max())))
            tokens.append(heard[-1][0])
        return heard


@pytest.fixture
def reference(folders: dict[str, Path]) -> Reference:
    return Reference(folders)


def hear(rows: list[Talk], sampled: Sampled) -> None:
    assert sampled.logprobs is not None
    for row, token, logprob in zip(rows, sampled.tokens.tolist(), sampled.logprobs.tolist(), strict=True):
        row.heard.append((token, logprob))


def make_talk(rng: random.Random, adapters: dict[str | None, object], prompt_lengths: tuple[int, ...]) -> Talk:
    name = rng.choice([*adapters])
    prompt = [rng.randrange(256) for _ in range(rng.choice(prompt_lengths))]
    sampler = SamplerRow(Sampling(temperature=0.0, wants_logprobs=True))
    return Talk(prompt, sampler, adapters[name], adapter_name=name, length=rng.randrange(1, 24))  # type: ignore[arg-type]


def test_rows_that_join_and_leave_decode_as_each_alone(
    opened: Opened, reference: Reference, folders: dict[str, Path]
) -> None:
    adapters = {None: None, **{name: opened.store.load(name, str(folders[name])) for name in ("all", "some")}}
    batch: RunningBatch[Talk] = RunningBatch(opened.model, opened.composition)
    rng = random.Random(0)
    talks: list[Talk] = []
    while len(talks) < 24 or batch.rows:
        joining = []
        while len(talks) < 24 and len(batch.rows) + len(joining) < 6 and rng.random() < 0.5:
            joining.append(make_talk(rng, adapters, (1, 5, 30, 120)))
            talks.append(joining[-1])
        if joining:
            hear(joining, batch.join(joining))
        if batch.rows:
            hear(batch.rows, batch.step())
        batch.leave([place for place, talk in enumerate(batch.rows) if len(talk.heard) >= talk.length])
    for talk in talks:
        expected = reference.reply(list(talk.prompt_ids), talk.adapter_name, len(talk.heard))
        assert [token for token, _ in talk.heard] == [token for token, _ in expected]
        assert [logprob for _, logprob in talk.heard] == pytest.approx([value for _, value in expected], abs=5e-5)


def test_a_long_running_batch_reuses_the_columns_that_became_free(opened: Opened, reference: Reference) -> None:
    """Rows overlap for 620 steps, so that the common column passes two blocks; the cache must not take a third."""
    batch: RunningBatch[Talk] = RunningBatch(opened.model, opened.composition)
    rng = random.Random(1)
    last: Talk | None = None
    for step in range(620):
        if step % 40 == 0:
            last = make_talk(rng, {None: None}, (20,))
            last.length = 60
            hear([last], batch.join([last]))
        hear(batch.rows, batch.step())
        batch.leave([place for place, talk in enumerate(batch.rows) if len(talk.heard) >= talk.length])
    assert last is not None
    while len(last.heard) < last.length:
        hear(batch.rows, batch.step())
    assert batch.column_capacity <= 512
    expected = reference.reply(list(last.prompt_ids), None, 60)
    assert [token for token, _ in last.heard] == [token for token, _ in expected]


def test_what_a_row_may_not_draw_yet_is_not_drawn(opened: Opened) -> None:
    prompt = [5, 6, 7]
    free: Row = Row(prompt, SamplerRow(Sampling(temperature=0.0)))
    batch: RunningBatch[Row] = RunningBatch(opened.model, opened.composition)
    first = int(batch.join([free]).tokens[0])
    barred = Row(prompt, SamplerRow(Sampling(temperature=0.0)), suppressed=[first])
    assert int(batch.join([barred]).tokens[0]) != first


def test_a_base_row_is_untouched_by_an_adapter_in_its_batch(opened: Opened, folders: dict[str, Path]) -> None:
    adapter = opened.store.load("all", str(folders["all"]))
    greedy = Sampling(temperature=0.0, wants_logprobs=True)

    def logprobs(*adapters: object) -> list[float]:
        batch: RunningBatch[Row] = RunningBatch(opened.model, opened.composition)
        rows = [Row([1, 2, 3], SamplerRow(greedy), adapter) for adapter in adapters]  # type: ignore[arg-type]
        sampled = batch.join(rows).logprobs
        assert sampled is not None
        return [float(value) for value in sampled]

    mixed = logprobs(None, adapter)
    assert mixed[0] == pytest.approx(logprobs(None)[0], abs=1e-5)
    assert mixed[1] == pytest.approx(logprobs(adapter)[0], abs=1e-5)
    assert abs(mixed[0] - mixed[1]) > 0.01
