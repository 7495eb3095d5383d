"""Parts: the same conversations' rows in one Parquet file a table, all of them whole before any is named."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cli.export.files import flush_folder, sha256_of


@dataclass(frozen=True, slots=True)
class PartFile:
    """One file as the manifest names it."""

    path: str
    rows: int
    bytes: int
    sha256: str

    def is_whole(self, folder: Path) -> bool:
        """Whether it still lies there as it was written."""
        file = folder / self.path
        try:
            return file.stat().st_size == self.bytes and sha256_of(file) == self.sha256
        except OSError:
            return False


class Part:
    """The open files of one number. Each write is a row group, so that nothing is kept until the end."""

    def __init__(self, folder: Path, number: int, tables: Mapping[str, pa.Schema]) -> None:
        self.rows = dict.fromkeys(tables, 0)
        self.files: list[PartFile] = []
        self._schemas = tables
        self._folder = folder
        self._names = {table: f"{table}/part-{number:05d}.parquet" for table in tables}
        self._writers: dict[str, pq.ParquetWriter] = {}

    def open(self, stack: ExitStack) -> None:
        for table, schema in self._schemas.items():
            hidden = self._hidden(table)
            hidden.parent.mkdir(exist_ok=True)
            self._writers[table] = stack.enter_context(pq.ParquetWriter(hidden, schema, compression="zstd"))

    def write(self, tables: Mapping[str, pa.Table]) -> None:
        for table, rows in tables.items():
            if rows.num_rows:
                self._writers[table].write_table(rows)
                self.rows[table] += rows.num_rows

    def finish(self) -> None:
        for table, name in self._names.items():
            hidden = self._hidden(table)
            with hidden.open("rb+") as written:
                os.fsync(written.fileno())
            self.files.append(PartFile(name, self.rows[table], hidden.stat().st_size, sha256_of(hidden)))
        for table, name in self._names.items():
            self._hidden(table).replace(self._folder / name)
            flush_folder(self._folder / table)

    def forget(self) -> None:
        for table in self._names:
            self._hidden(table).unlink(missing_ok=True)

    def _hidden(self, table: str) -> Path:
        file = self._folder / self._names[table]
        return file.with_name(f".{file.name}.new")


@contextmanager
def written_part(folder: Path, number: int, tables: Mapping[str, pa.Schema]) -> Iterator[Part]:
    """A part to write to. Its files have their names, and `files` says what they are, once the block has ended."""
    part = Part(folder, number, tables)
    try:
        with ExitStack() as stack:
            part.open(stack)
            yield part
        part.finish()
    except BaseException:
        part.forget()
        raise
