"""TensorZero's tables, from the migrations that its wheel carries: they are run by a program that is not in the wheel.

The library holds a migration as its version, its text and the SHA-384 of the text. What looks like that in its data and
has the right checksum is one; ELF for x86-64 only.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

SHA384 = 48
RELATIVE = 8
"""The kind of relocation that writes an address within the library."""
RELOCATIONS, EMPTY = 4, 8
"""Kinds of sections."""
ENTRY = 88
"""Bytes from one migration of a list to the next."""
NOTED_IN = {
    "api key": "tensorzero_auth__sqlx_migrations",
    "rate-limiting": "_sqlx_migrations",
    "function variant prompt config": "tensorzero_stored_config__sqlx_migrations",
}
"""Where the gateway looks for what was run, by the first of the list; in the order in which the lists are run."""
QUEUES = """
CREATE SCHEMA durable;
CREATE FUNCTION durable.create_queue(text) RETURNS void LANGUAGE sql AS ''
"""
"""Its queues are for evaluations, which nobody runs here."""


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    description: str
    statements: str


@dataclass(frozen=True, slots=True)
class Section:
    kind: int
    address: int
    offset: int
    size: int


class Library:
    """A shared library, read by the addresses that its parts have once it is loaded."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        start = struct.unpack_from("<Q", data, 0x28)[0]
        size, count = struct.unpack_from("<HH", data, 0x3A)
        headers = [struct.unpack_from("<IIQQQQ", data, start + number * size) for number in range(count)]
        self._sections = [Section(kind, *rest) for _, kind, _, *rest in headers]
        self.pointers = dict(self._relocated())

    def _relocated(self) -> Iterator[tuple[int, int]]:
        for section in self._sections:
            if section.kind == RELOCATIONS:
                table = self._data[section.offset : section.offset + section.size]
                for place, info, address in struct.iter_unpack("<QQq", table):
                    if info & 0xFFFFFFFF == RELATIVE:
                        yield place, address

    def at(self, address: int, size: int) -> bytes:
        for section in self._sections:
            if section.kind != EMPTY and section.address <= address < section.address + section.size:
                start = section.offset + address - section.address
                return self._data[start : start + size]
        return b""

    def number(self, address: int) -> int:
        return int.from_bytes(self.at(address, 8), "little")


def run(url: str, library: Path) -> None:
    """Make the tables in an empty database; the address as libpq reads it."""
    lists = {migrations[0].description: migrations for migrations in read(library)}
    if set(lists) != set(NOTED_IN):
        raise SystemExit(f"{library} carries other migrations than expected, those after {', '.join(lists)}.")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(QUEUES)
        for first, table in NOTED_IN.items():
            name = sql.Identifier(table)
            connection.execute(sql.SQL("CREATE TABLE {} (version bigint, success boolean)").format(name))
            for migration in lists[first]:
                connection.execute(migration.statements.encode())
                noted = sql.SQL("INSERT INTO {} VALUES (%s, true)").format(name)
                connection.execute(noted, (migration.version,))


def read(file: Path) -> list[list[Migration]]:
    """Its lists of migrations, each in the order in which they are run."""
    library = Library(file.read_bytes())
    lists: list[list[Migration]] = []
    ended = 0
    for place in sorted(library.pointers):
        if library.number(place + 8) == SHA384 and (found := _migration(library, place)) is not None:
            if place - ended != ENTRY:
                lists.append([])
            lists[-1].append(found)
            ended = place
    return lists


def _migration(library: Library, checksum: int) -> Migration | None:
    """The one whose checksum is pointed at from there."""
    description, statements = (library.pointers.get(checksum + offset) for offset in (-24, 24))
    if description is None or statements is None:
        return None
    text = library.at(statements, library.number(checksum + 32))
    expected = library.at(library.pointers[checksum], SHA384)
    if not text or hashlib.sha384(text).digest() != expected:
        return None
    named = library.at(description, library.number(checksum - 16))
    return Migration(library.number(checksum + 40), named.decode(), text.decode())
