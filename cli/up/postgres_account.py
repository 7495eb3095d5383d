"""The account that Postgres runs under when we are root, which it refuses to be. For anybody else: their own."""

import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path

from cli.up import tether
from cli.up.errors import StartError

Account = pwd.struct_passwd
NAME = "nock-postgres"
READ_AND_ENTER = stat.S_IROTH | stat.S_IXOTH


def account_for_postgres() -> Account | None:
    """The unprivileged account to use, made when missing; None where we are not root and need none."""
    if os.geteuid() != 0:
        return None
    account = _find()
    if account is None:
        if shutil.which("useradd") is None:
            raise StartError(
                "Postgres does not run as root, and there is no `useradd` to make an account for it.",
                advice="Start Nock as an ordinary user, or name a Postgres of yours in NOCK_DATABASE_URL.",
            )
        made = subprocess.run(
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", NAME],
            capture_output=True,
            text=True,
        )
        account = _find()  # whatever `useradd` said: a start beside ours may have been quicker
        if account is None:
            raise StartError(
                f"Postgres does not run as root, and the account {NAME} could not be made: {made.stderr.strip()}",
                advice="Start Nock as an ordinary user, or name a Postgres of yours in NOCK_DATABASE_URL.",
            )
    return account


def hand_over(folder: Path, account: Account | None) -> None:
    """Make the account the owner of a folder."""
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)


def let_through(path: Path) -> list[Path]:
    """Let other accounts pass through the folders above a path, without letting them list these; what was changed."""
    closed = [folder for folder in path.resolve().parents if not folder.stat().st_mode & stat.S_IXOTH]
    for folder in closed:
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    return closed


def let_read(installation: Path) -> None:
    """Let other accounts run the programs of an installation, which a strict umask may have closed to them."""
    for path in (installation, *installation.rglob("*")):
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode) and mode & READ_AND_ENTER != _open(mode) & READ_AND_ENTER:
            path.chmod(_open(mode))


def become(account: Account) -> None:
    """Give up root for good; the kernel then forgets whom we should die with, so say it again."""
    os.initgroups(account.pw_name, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    tether.die_with_parent()


def _find() -> Account | None:
    try:
        return pwd.getpwnam(NAME)
    except KeyError:
        return None


def _open(mode: int) -> int:
    return mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
