"""Stopping and going on is the same as never stopping; what does not fit is refused."""

from dataclasses import replace

import pytest
import torch

from tests.fixtures.tiny_encoder import write_tiny_encoder
from tests.fixtures.tiny_model import write_tiny_adapter
from tests.fixtures.transitions import dialogue
from worker.archer.actor import Actor
from worker.archer.checkpoint import CheckpointError
from worker.archer.critic import build_critic
from worker.archer.learner import Learner

MONDAY = dialogue("a", (0.0, 1.0)) + dialogue("b", (0.0, 0.0)) + dialogue("c", (0.5,))
TUESDAY = dialogue("d", (0.3, 0.0)) + dialogue("e", (0.0, 1.0))


@pytest.fixture
def shuffled(config):
    """Batches smaller than the data, so that the random state matters."""
    return replace(config, critic_batch_turns=2, actor_batch_turns=2, critic_steps=3)


def everything(learner):
    return {
        **{f"critic {name}": weight for name, weight in learner.critic.state().items()},
        **{f"target {name}": weight for name, weight in learner.target.state().items()},
        **{f"actor {name}": weight for name, weight in learner.actor.adapter_state().items()},
    }


POLICY = {"critic_reader": "policy", "critic_encoding": "joint", "train_reader": True, "reader_lr": 1e-3}
LEARNERS = {
    "encoder": {},
    "trained encoder": {"train_reader": True},
    "policy": POLICY | {"trace": "length_normalised", "actor_objective": "clipped", "kl_coefficient": 0.1},
    "frozen policy": {"critic_reader": "policy", "critic_head": "two_hot", "token_baseline": True},
    "fresh utterances": POLICY | {"value": "sampled", "actor_utterances": "fresh"},
}


@pytest.mark.parametrize("changes", LEARNERS.values(), ids=LEARNERS)
def test_going_on_from_a_checkpoint_equals_never_having_stopped_to_the_bit(make_learner, shuffled, tmp_path, changes):
    chosen = replace(shuffled, **changes)
    learner = make_learner(chosen)
    learner.update(MONDAY)
    learner.save(tmp_path / "critic.pt")
    assert learner.update(TUESDAY).actor_skipped is None
    again = make_learner(chosen, seed=99)
    again.restore(tmp_path / "critic.pt")
    again.update(TUESDAY)
    expected, found = everything(learner), everything(again)
    assert expected.keys() == found.keys()
    different = [name for name, weight in expected.items() if not torch.equal(weight, found[name])]
    assert different == []


@pytest.mark.parametrize("changes", [POLICY, {"critic_reader": "policy"}], ids=["trained", "frozen"])
def test_a_critic_that_reads_with_the_policy_goes_on_over_any_adapter(
    make_learner, shuffled, tmp_path, model_folder, changes
):
    chosen = replace(shuffled, **changes)
    learner = make_learner(chosen)
    learner.update(MONDAY)
    learner.save(tmp_path / "critic.pt")
    # The actor starts from another version, as after a roll-back.
    again = make_learner(chosen, adapter=write_tiny_adapter(tmp_path / "adapter", model_folder, rank=8))
    fresh = again.actor.adapter_state()
    again.restore_critic(tmp_path / "critic.pt")
    assert all(torch.equal(weight, again.critic.state()[name]) for name, weight in learner.critic.state().items())
    assert all(torch.equal(weight, again.target.state()[name]) for name, weight in learner.target.state().items())
    assert all(torch.equal(weight, fresh[name]) for name, weight in again.actor.adapter_state().items())


def test_restoring_the_critic_leaves_the_actor_as_it_was_built(make_learner, shuffled, tmp_path):
    learner = make_learner(shuffled)
    learner.update(MONDAY)
    learner.save(tmp_path / "critic.pt")
    again = make_learner(shuffled)
    fresh = again.actor.adapter_state()
    again.restore_critic(tmp_path / "critic.pt")
    for part in ("critic", "target"):
        for name, weight in everything(learner).items():
            assert not name.startswith(part) or torch.equal(weight, everything(again)[name])
    assert all(torch.equal(weight, fresh[name]) for name, weight in again.actor.adapter_state().items())
    restored = again.critic_optimiser.state_dict()["state"]
    assert restored.keys() == learner.critic_optimiser.state_dict()["state"].keys() != set()


def test_a_checkpoint_holds_no_frozen_encoder(make_learner, shuffled, tmp_path):
    learner = make_learner(shuffled)
    learner.save(tmp_path / "critic.pt")
    saved = torch.load(tmp_path / "critic.pt", weights_only=True)["state"]["critic"]["online"]
    assert saved
    assert not [name for name in saved if not name.startswith(("heads.", "units."))]


def test_heads_of_another_width_are_refused_by_name(make_learner, shuffled, tmp_path):
    make_learner(shuffled).save(tmp_path / "critic.pt")
    other = make_learner(replace(shuffled, critic_hidden=8))
    with pytest.raises(
        CheckpointError,
        match="critic heads: it has '2 scalar, 32 and 64 -> 16', this learner '2 scalar, 32 and 64 -> 8'",
    ):
        other.restore_critic(tmp_path / "critic.pt")


def test_another_encoder_of_the_same_shape_is_refused(make_learner, shuffled, model_folder, tmp_path):
    make_learner(shuffled).save(tmp_path / "critic.pt")
    actor = Actor.from_pretrained(model_folder, shuffled)
    stranger = build_critic(actor, write_tiny_encoder(tmp_path / "encoder", seed=5), shuffled)
    with pytest.raises(CheckpointError, match="frozen encoder's weights"):
        Learner(actor, stranger, shuffled, decode=str).restore_critic(tmp_path / "critic.pt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (POLICY, "critic reads: it has 'split texts', this learner 'joint tokens'"),
        ({"critic_encoding": "joint"}, "critic reads: it has 'split texts', this learner 'joint texts'"),
        ({"train_reader": True}, "encoder is trained: it has 'False', this learner 'True'"),
        ({"critic_ensemble": 3}, "critic heads: it has '2 scalar, .*', this learner '3 scalar, "),
        ({"critic_head": "two_hot"}, "critic heads: it has '2 scalar, .*', this learner '2 two_hot, "),
        ({"critic_head": "binary"}, "critic heads: it has '2 scalar, .*', this learner '2 binary, "),
    ],
)
def test_a_critic_of_another_make_is_refused_by_what_differs(make_learner, shuffled, tmp_path, changes, message):
    make_learner(shuffled).save(tmp_path / "critic.pt")
    other = make_learner(replace(shuffled, **changes))
    before = everything(other)
    with pytest.raises(CheckpointError, match=message):
        other.restore_critic(tmp_path / "critic.pt")
    assert all(torch.equal(weight, before[name]) for name, weight in everything(other).items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "critic reads: it has 'joint tokens', this learner 'split texts'"),
        (POLICY | {"critic_encoding": "split"}, "critic reads: it has 'joint tokens', this learner 'split tokens'"),
        (POLICY | {"train_reader": False}, "critic's adapter: it has 'rank 8, 32768 weights', this learner 'none'"),
        (
            POLICY | {"lora_rank": 4},
            "critic's adapter: it has 'rank 8, 32768 weights', this learner 'rank 4, 16384 weights'",
        ),
    ],
)
def test_a_critic_that_reads_tokens_is_refused_by_others(make_learner, shuffled, tmp_path, changes, message):
    make_learner(replace(shuffled, **POLICY)).save(tmp_path / "critic.pt")
    with pytest.raises(CheckpointError, match=message):
        make_learner(replace(shuffled, **changes)).restore_critic(tmp_path / "critic.pt")


def test_a_critic_whose_adapter_took_another_shape_from_the_actors_is_refused(
    make_learner, shuffled, tmp_path, adapter_folder
):
    chosen = replace(shuffled, **POLICY)
    make_learner(chosen).save(tmp_path / "critic.pt")
    with pytest.raises(CheckpointError, match=r"critic's adapter: it has 'rank 8, .*', this learner 'rank 4, "):
        make_learner(chosen, adapter=adapter_folder).restore_critic(tmp_path / "critic.pt")


def test_a_checkpoint_of_an_older_format_is_refused(make_learner, shuffled, tmp_path):
    learner = make_learner(shuffled)
    learner.save(tmp_path / "critic.pt")
    older = torch.load(tmp_path / "critic.pt", weights_only=True) | {"format": 1}
    torch.save(older, tmp_path / "critic.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of format 2; start without it"):
        learner.restore_critic(tmp_path / "critic.pt")


def test_what_has_been_configured_since_holds(make_learner, shuffled, tmp_path):
    make_learner(shuffled).save(tmp_path / "critic.pt")
    other = make_learner(replace(shuffled, critic_lr=0.5, critic_weight_decay=0.25))
    other.restore_critic(tmp_path / "critic.pt")
    assert [(group["lr"], group["weight_decay"]) for group in other.critic_optimiser.param_groups] == [(0.5, 0.25)]


def test_an_actor_of_another_rank_takes_the_critic_but_not_the_rest(make_learner, shuffled, tmp_path):
    make_learner(shuffled).save(tmp_path / "critic.pt")
    other = make_learner(replace(shuffled, lora_rank=4))
    other.restore_critic(tmp_path / "critic.pt")
    with pytest.raises(CheckpointError, match="LoRA: it has 'rank 8, alpha 16', this learner 'rank 4, alpha 16'"):
        other.restore(tmp_path / "critic.pt")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_half_a_checkpoint_is_refused_as_damaged(make_learner, shuffled, tmp_path, share):
    learner = make_learner(shuffled)
    learner.save(tmp_path / "critic.pt")
    whole = (tmp_path / "critic.pt").read_bytes()
    (tmp_path / "critic.pt").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"critic\.pt is damaged"):
        learner.restore_critic(tmp_path / "critic.pt")


def test_a_missing_checkpoint_is_refused(make_learner, shuffled, tmp_path):
    with pytest.raises(CheckpointError, match=r"There is no critic\.pt"):
        make_learner(shuffled).restore_critic(tmp_path / "critic.pt")


def test_a_write_that_fails_leaves_the_old_checkpoint_and_no_litter(make_learner, shuffled, tmp_path, monkeypatch):
    learner = make_learner(shuffled)
    learner.save(tmp_path / "critic.pt")
    before = (tmp_path / "critic.pt").read_bytes()

    def disk_full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(OSError, match="No space left"):
        learner.save(tmp_path / "critic.pt")
    assert (tmp_path / "critic.pt").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["critic.pt"]
