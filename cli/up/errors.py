"""What can stop a start, in words for whoever typed the command."""

from pathlib import Path


class StartError(Exception):
    """Something that must be put right before the stack can start: what failed, what to do, where to read more."""

    def __init__(self, what: str, *, advice: str = "", log: Path | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice
        self.log = log

    def __str__(self) -> str:
        return f"{self.what} {self.advice}".strip()
