"""Many values as one parameter: whatever their number it is the same statement, which stays compiled and prepared.

A statement that every outcome needs is built once, with its parameters named and not filled in: to build it anew and
find it among the compiled ones costs more than to execute it.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, any_, bindparam, func, literal, sql
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.selectable import TableValuedAlias

Column = InstrumentedAttribute[Any]


def is_among(column: Column, values: Iterable[Any]) -> ColumnElement[bool]:
    """`column IN (values)`, which SQLAlchemy would write out value by value."""
    return column == any_(literal(list(values), ARRAY(column.type)))


def is_among_given(column: Column, name: str) -> ColumnElement[bool]:
    """The same for a statement that is built once: the values are its parameter of that name."""
    return column == any_(bindparam(name, type_=ARRAY(column.type)))


def given_rows(*columns: Column) -> TableValuedAlias:
    """A table of these columns to select from, for a statement that is built once; `as_given` fills it in."""
    arrays = [bindparam(_given(column), type_=ARRAY(column.type)) for column in columns]
    names = (sql.column(column.key, column.type) for column in columns)
    return func.unnest(*arrays).table_valued(*names).render_derived("given")


def as_given(values: dict[Column, Iterable[Any]]) -> dict[str, list[Any]]:
    """The parameters of `given_rows`, row after row in the order of the values."""
    return {_given(column): list(of_rows) for column, of_rows in values.items()}


def _given(column: Column) -> str:
    return f"given_{column.key}"
