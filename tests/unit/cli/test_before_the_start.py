"""What is refused before anything starts, and in which words."""

import os
import socket
from pathlib import Path

import pytest

from cli.up.checks import check_disk, check_given_redis, check_ports
from cli.up.errors import StartError
from cli.up.home import Home
from cli.up.lock import holder, only_one
from cli.up.model import find_model, served_base
from cli.up.postgres_process import clear_foreign_lock
from cli.up.settings import UpSettings
from cli.up.supervision import configuration


def settings(port: int, engine_port: int) -> UpSettings:
    return UpSettings("127.0.0.1", port, engine_port, None, None, None, None, None)


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_taken_port_names_its_holder_and_the_way_out() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = int(listener.getsockname()[1])
        with pytest.raises(StartError, match=rf"cannot listen on 127\.0\.0\.1:{port}.*process {os.getpid()}") as caught:
            check_ports(settings(port, a_free_port()))
        assert f"NOCK_PORT={port + 10}" in caught.value.advice
        with pytest.raises(StartError, match="The engine cannot listen") as caught:
            check_ports(settings(a_free_port(), port))
        assert "NOCK_ENGINE_PORT=" in caught.value.advice


def test_free_ports_pass() -> None:
    check_ports(settings(a_free_port(), a_free_port()))


def test_one_port_for_both_is_refused() -> None:
    port = a_free_port()
    with pytest.raises(StartError, match="cannot both listen"):
        check_ports(settings(port, port))


@pytest.mark.parametrize("text", ["none", "0", "65536", "-1", "80.5"])
def test_a_port_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCK_PORT", text)
    with pytest.raises(StartError, match="NOCK_PORT is"):
        UpSettings.from_environment()


def test_a_small_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    home.prepare()
    check_disk(home)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1999 * 2**20})())
    with pytest.raises(StartError, match="1999 MiB free; the first start needs 2000"):
        check_disk(home)


def test_a_second_start_on_one_folder_is_refused_and_names_the_first(tmp_path: Path) -> None:
    lock = tmp_path / "run" / "lock"
    lock.parent.mkdir()
    with only_one(lock):
        assert holder(lock) == os.getpid()
        with pytest.raises(StartError, match=rf"already runs on .*process {os.getpid()}.*nock down"), only_one(lock):
            pass
    assert holder(lock) is None


def test_a_file_in_place_of_the_state_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(StartError, match="cannot be used"):
        Home(tmp_path / "home").prepare()


@pytest.mark.parametrize("name", ["long" * 30, "with blank", "100%", "größer"])
def test_a_long_or_odd_path_moves_the_sockets_to_a_short_private_folder(name: str, tmp_path: Path) -> None:
    home = Home(tmp_path / name)
    home.prepare()
    assert len(str(home.sockets)) < 70
    assert home.sockets.stat().st_mode & 0o777 == 0o711
    home.forget_sockets()
    assert not home.sockets.exists()


def test_paths_with_blanks_and_per_cent_signs_survive_the_supervisors_configuration(tmp_path: Path) -> None:
    text = configuration(Home(tmp_path / "100% mine"), [])
    assert "100%% mine/logs/supervisord.log" in text


@pytest.mark.parametrize("asked", ["./no-such-folder", "/no/such/folder", "two/slashes/here", "with blank"])
def test_a_model_that_is_neither_folder_nor_id_is_refused(asked: str, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="no such folder, and it is no Hugging Face id"):
        find_model(Home(tmp_path), asked, lambda _: None)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"no readable config\.json"):
        find_model(Home(tmp_path), str(tmp_path), lambda _: None)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(StartError, match="no weights"):
        find_model(Home(tmp_path), str(tmp_path), lambda _: None)


def test_a_model_folder_is_served_under_its_last_part(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert find_model(Home(tmp_path), str(tmp_path), lambda _: None) == (str(tmp_path), tmp_path.name)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:{port}/0", "redis+socket:///no/such/redis.sock", "nonsense://x"])
def test_a_redis_that_does_not_answer_is_refused(url: str) -> None:
    with pytest.raises(StartError, match="NOCK_REDIS_URL does not answer"):
        check_given_redis(url.format(port=a_free_port()))


def test_an_engine_that_is_not_there_is_named() -> None:
    with pytest.raises(StartError, match="does not list its models"):
        served_base(f"http://127.0.0.1:{a_free_port()}", None)


def test_a_postgres_lock_whose_process_is_something_else_now_is_removed(tmp_path: Path) -> None:
    lock = tmp_path / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{tmp_path}\n")
    clear_foreign_lock(lock)
    assert not lock.exists()


def test_a_postgres_lock_of_a_dead_process_is_left_to_postgres(tmp_path: Path) -> None:
    lock = tmp_path / "postmaster.pid"
    lock.write_text(f"{2**22 - 1}\n{tmp_path}\n")
    clear_foreign_lock(lock)
    assert lock.exists()
