"""Log-probs are those of the tokens sampled, whatever shares the batch; the adapter is what peft loads."""

import json

import pytest
import torch
from peft import PeftModel
from torch import tensor
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from tests.fixtures.transitions import dialogue, turn
from worker.archer.actor import Actor, ActorError, token_logprobs
from worker.archer.config import ArcherConfig
from worker.archer.rows import build_rows, build_table, collate

CPU = torch.device("cpu")


@pytest.fixture
def actor(model_folder, adapter_folder, config):
    return Actor.from_pretrained(model_folder, config, adapter=adapter_folder)


def logprobs(actor, turns, rows_a_batch=100):
    table = build_table(turns, CPU)
    rows = build_rows(turns, 100)
    found = torch.zeros(len(table.turn))
    for start in range(0, len(rows), rows_a_batch):
        batch = collate(rows[start : start + rows_a_batch], CPU)
        found[batch.table] = actor.logprobs(batch, table.temperature[batch.table])
    return found


def test_a_log_prob_by_hand():
    # Temperature 2 halves the logits: softmax(ln 1, ln 3) = 1/4, 3/4 from the logits 0 and 2 ln 3.
    logits = tensor([[0.0, 2 * 1.0986123], [0.0, 1.0986123]])
    found = token_logprobs(logits, tensor([1, 0]), tensor([2.0, 1.0]))
    assert_close(found.exp(), tensor([0.75, 0.25]))


def test_an_impossible_token_has_a_finite_log_prob_and_gradient():
    logits = tensor([[0.0, -1000.0]], requires_grad=True)
    found = token_logprobs(logits, tensor([1]), tensor([1.0]))
    assert_close(found, tensor([-1000.0]))
    found.sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_shared_rows_and_padding_give_the_log_probs_of_one_turn_at_a_time(actor):
    turns = dialogue("a", (0.0, 0.0, 1.0)) + dialogue("b", (0.0,), temperature=0.7)
    together = logprobs(actor, turns)
    assert len(build_rows(turns, 100)) == 2
    slow = []
    for each in turns:
        ids = torch.tensor([each.prompt_ids + each.completion_ids])
        logits = actor.model(input_ids=ids).logits[0] / each.temperature
        for offset, token in enumerate(each.completion_ids):
            at = len(each.prompt_ids) + offset
            slow.append(torch.log_softmax(logits[at - 1], dim=-1)[token])
    assert_close(together, torch.stack(slow), rtol=1e-4, atol=1e-4)


def test_a_fresh_adapter_equals_the_base_and_still_takes_a_gradient(model_folder, config):
    fresh = Actor.from_pretrained(model_folder, config)
    base = AutoModelForCausalLM.from_pretrained(model_folder)
    ids = tensor([[1, 2, 3, 4]])
    assert torch.equal(fresh.model(input_ids=ids).logits, base(ids).logits)
    logprobs(fresh, [turn()]).sum().backward()
    assert sum(weight.grad.abs().sum() for weight in fresh.parameters()) > 0


def test_every_linear_layer_but_the_output_has_a_lora_and_the_base_is_frozen(actor, model_folder, config):
    fresh = Actor.from_pretrained(model_folder, config)
    trained = {name for name, weight in fresh.model.named_parameters() if weight.requires_grad}
    layers = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in trained}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert all("lora_" in name for name in trained)
    assert len(actor.parameters()) == len(trained)


def test_the_seed_decides_a_fresh_adapter_and_leaves_the_random_state_alone(model_folder, config):
    before = torch.random.get_rng_state()
    states = [Actor.from_pretrained(model_folder, config, seed=seed).adapter_state() for seed in (1, 1, 2)]
    name = next(name for name in states[0] if "lora_A" in name)
    assert torch.equal(states[0][name], states[1][name])
    assert not torch.equal(states[0][name], states[2][name])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_saved_adapter_is_what_peft_loads_and_names_no_path(actor, model_folder, tmp_path):
    actor.save_adapter(tmp_path / "adapter")
    assert sorted(file.name for file in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model_folder), tmp_path / "adapter")
    ids = tensor([[1, 2, 3, 4]])
    assert_close(loaded(input_ids=ids).logits, actor.model(input_ids=ids).logits)
    written = (tmp_path / "adapter" / "adapter_config.json").read_text()
    assert str(model_folder.parent) not in written
    assert json.loads(written)["base_model_name_or_path"] is None


def test_saving_twice_writes_the_same_bytes(actor, tmp_path):
    actor.save_adapter(tmp_path / "one")
    actor.save_adapter(tmp_path / "two")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_an_actor_goes_on_from_a_saved_adapter(actor, model_folder, config, tmp_path):
    actor.save_adapter(tmp_path)
    again = Actor.from_pretrained(model_folder, config, adapter=tmp_path)
    for name, weight in actor.adapter_state().items():
        assert torch.equal(again.adapter_state()[name], weight)
    assert len(again.parameters()) == len(actor.parameters()) > 0


def test_another_architecture_is_trained_too(tmp_path, config):
    GPT2LMHeadModel(
        GPT2Config(vocab_size=64, n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    ).save_pretrained(tmp_path)
    fresh = Actor.from_pretrained(tmp_path, config)
    # GPT-2 has dropout: the same tokens must still have the same log-probs twice, and get a gradient.
    assert torch.equal(logprobs(fresh, [turn()]), logprobs(fresh, [turn()]))
    logprobs(fresh, [turn()]).sum().backward()
    assert sum(weight.grad.abs().sum() for weight in fresh.parameters()) > 0


def test_tokens_of_another_model_are_refused(actor):
    with pytest.raises(ActorError, match="spoken by another model"):
        actor.check_vocabulary((1, actor.vocabulary))
    actor.check_vocabulary((0, actor.vocabulary - 1))


def test_what_is_no_model_or_no_adapter_is_refused(model_folder, encoder_folder, tmp_path, config):
    with pytest.raises(ActorError, match="not a causal language model"):
        Actor.from_pretrained(tmp_path, config)
    with pytest.raises(ActorError, match=r"no adapter_config\.json"):
        Actor.from_pretrained(model_folder, config, adapter=tmp_path)


def test_an_adapter_of_another_shape_is_refused(model_folder, adapter_folder, tmp_path):
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / name).write_bytes((adapter_folder / name).read_bytes())
    described = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**described, "r": 16}))
    with pytest.raises(ActorError, match="does not fit the model"):
        Actor.from_pretrained(model_folder, ArcherConfig(), adapter=tmp_path)
