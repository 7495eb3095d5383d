"""Folders that appear whole or not at all."""

import stat
from pathlib import Path

import pytest

from core.adapters.folders import list_folders, open_unfinished, publish, remove, seal
from core.domain.adapters import AdapterName
from core.domain.ids import new_id
from core.settings import StoreSettings
from worker.adapters.places import Places, run_of


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}


def test_a_sealed_folder_can_be_read_by_its_group_and_written_by_nobody_else(tmp_path: Path) -> None:
    folder = open_unfinished(tmp_path / "agent" / ".unfinished")
    (folder / "weights").write_bytes(b"1")
    (folder / "weights").chmod(0o606)
    (folder / "more").mkdir(mode=0o777)
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o750  # made on the way
    seal(folder)
    assert modes(folder) == {".unfinished": 0o750, "weights": 0o640, "more": 0o750}


def test_a_group_that_the_place_hands_on_is_kept(tmp_path: Path) -> None:
    place = tmp_path / "agent"
    place.mkdir()
    place.chmod(0o2770)
    seal(open_unfinished(place / ".unfinished"))
    assert stat.S_IMODE(place.stat().st_mode) == 0o2770  # a folder that was there is its owner's matter
    assert stat.S_IMODE((place / ".unfinished").stat().st_mode) == 0o2750


def test_publishing_moves_the_folder_and_never_over_another(tmp_path: Path) -> None:
    for content in ("first", "second"):
        unfinished = open_unfinished(tmp_path / ".unfinished")
        (unfinished / "weights").write_text(content)
        if content == "first":
            publish(unfinished, tmp_path / "v1")
    with pytest.raises(OSError, match="not empty"):
        publish(tmp_path / ".unfinished", tmp_path / "v1")
    assert (tmp_path / "v1" / "weights").read_text() == "first"


def test_removing_takes_whole_folders_and_minds_none_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "v1" / "deep").mkdir(parents=True)
    (tmp_path / ".unfinished").mkdir()
    remove([tmp_path / "v1", tmp_path / ".unfinished", tmp_path / "gone"])
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert list_folders(tmp_path / "nowhere") == []


def test_places_are_absolute_and_tell_runs_attempts_and_versions_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    places = Places.of(StoreSettings(adapters_dir=Path("a"), checkpoints_dir=Path("c")), "demo")
    run, holder = new_id(), new_id()
    assert places.adapter(AdapterName("demo", 3), run) == tmp_path / "a" / "demo" / f"v3-{run.hex}"
    assert places.checkpoint(run) == tmp_path / "c" / "demo" / run.hex
    assert run_of(places.adapter(AdapterName("demo", 3), run)) == run_of(places.checkpoint(run)) == run
    assert {run_of(path) for path in places.unfinished(run, holder)} == {run}
    assert [run_of(Path(name)) for name in ("v3", "uploads", f"w1-{run.hex}", f"{run.hex}0")] == [None] * 4
    assert {path.parent for path in places.unfinished(run, holder)} == {places.adapters, places.checkpoints}
    assert places.unfinished(run, holder) != places.unfinished(run, new_id())
