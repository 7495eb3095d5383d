"""Two processes that learn together, started as operators start them, come to what one comes to alone."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fixtures.engine_process import find_free_port
from tests.fixtures.learner_process import CASES, DEMONSTRATIONS, build, take, weights
from worker.archer.processes import ALONE

ROOT = Path(__file__).parents[3]
Came = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_encoder: Path) -> Path:
    """What the two left behind."""
    folder = tmp_path_factory.mktemp("together")
    # With --cpu, accelerate would ask for MPI; --multi_gpu is several processes on whatever machine.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += ["--main_process_port", str(find_free_port()), "-m", "tests.fixtures.learner_process"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [*launch, str(tiny_model), str(tiny_encoder), str(folder)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def together(folder: Path) -> list[Came]:
    return [torch.load(folder / f"{index}.pt", weights_only=False) for index in (0, 1)]


@pytest.fixture(scope="module")
def alone(tiny_model: Path, tiny_encoder: Path) -> Callable[[str], Came]:
    @cache
    def learn(case: str) -> Came:
        torch.set_num_threads(1)  # as each of the two has; more would only wait for each other
        return take(build(case, tiny_model, tiny_encoder, ALONE), case)

    return learn


@pytest.mark.parametrize("case", CASES)
def test_two_processes_take_the_same_update_as_one(
    together: list[Came], alone: Callable[[str], Came], case: str
) -> None:
    expected = alone(case)["after"]
    for came in together:
        assert came[case]["after"].keys() == expected.keys()
        for name, weight in expected.items():
            # A softmax does not see a bias of all its keys: their gradient is rounding, which Adam takes full steps on.
            if not name.endswith("key.bias"):
                torch.testing.assert_close(came[case]["after"][name], weight, rtol=0.0, atol=1e-5, msg=name)


@pytest.mark.parametrize("case", CASES)
def test_that_update_moves_all_that_is_trained(alone: Callable[[str], Came], case: str) -> None:
    before, after = alone(case)["before"], alone(case)["after"]
    moved = {name.split()[0] for name, weight in after.items() if (weight - before[name]).abs().mean() > 1e-4}
    assert moved == {"actor", "critic", "target"}


@pytest.mark.parametrize("case", CASES)
def test_both_processes_hold_the_same_weights_to_the_bit(together: list[Came], case: str) -> None:
    first, second = (came[case]["after"] for came in together)
    assert [name for name, weight in first.items() if not torch.equal(weight, second[name])] == []


@pytest.mark.parametrize("case", CASES)
def test_figures_are_of_both_processes_shares(together: list[Came], alone: Callable[[str], Came], case: str) -> None:
    expected = alone(case)["figures"]
    for came in together:
        figures = came[case]["figures"]
        assert figures.actor.tokens_trained == expected.actor.tokens_trained
        assert figures.actor.loss == pytest.approx(expected.actor.loss, abs=1e-5)
        assert figures.actor.kl_to_start == pytest.approx(expected.actor.kl_to_start, abs=1e-5)
        assert figures.critic.grad_norm == pytest.approx(expected.critic.grad_norm, rel=1e-4)


def test_what_became_of_demonstrations_is_of_both_processes_shares(
    together: list[Came], alone: Callable[[str], Came]
) -> None:
    for case in DEMONSTRATIONS:
        expected = alone(case)["figures"].demonstrations
        assert (expected.only_these is not None) == (case == "demonstrations alone")
        for came in together:
            found = came[case]["figures"].demonstrations
            assert found.logprob == pytest.approx(expected.logprob, abs=1e-4)
            assert found.ranked_above == expected.ranked_above


def test_each_process_takes_its_share_of_the_passes(together: list[Came], alone: Callable[[str], Came]) -> None:
    for case in ("the default", "a reader trained in the policy's model"):
        first, second = (came[case]["passes"] for came in together)
        assert first == second < 0.75 * alone(case)["passes"]


def test_each_process_keeps_half_of_the_layers(together: list[Came]) -> None:
    for came in together:
        assert came["weights here"] == came["weights of layers"] / 2 > 0


def test_both_stop_at_the_budget_and_return_to_the_same_step(together: list[Came]) -> None:
    for came in together:
        figures = came["a budget that ends it"]["figures"].actor
        assert figures.stopped_by_kl
        assert 0 < figures.steps_kept < figures.steps


def test_a_loss_that_is_not_finite_in_one_process_stops_both(together: list[Came]) -> None:
    for came in together:
        said, weight = came["stumble"]
        assert said.startswith("The actor's loss is nan")
        assert weight == 1.0


@pytest.mark.parametrize("case", CASES)
def test_the_main_process_alone_writes_a_checkpoint_and_a_single_one_goes_on_from_it(
    folder: Path, together: list[Came], tiny_model: Path, tiny_encoder: Path, case: str
) -> None:
    assert not (folder / f"{case}, process 1.pt").exists()
    learner = build(case, tiny_model, tiny_encoder, ALONE)
    learner.restore(folder / f"{case}, process 0.pt")
    after = together[0][case]["after"]
    assert [name for name, weight in weights(learner).items() if not torch.equal(weight, after[name])] == []
