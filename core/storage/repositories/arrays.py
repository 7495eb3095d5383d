"""Many values as one parameter: whatever their number it is the same statement, which stays compiled and prepared."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, any_, func, literal, sql
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.selectable import TableValuedAlias

Column = InstrumentedAttribute[Any]


def is_among(column: Column, values: Iterable[Any]) -> ColumnElement[bool]:
    """`column IN (values)`, which SQLAlchemy would write out value by value."""
    return column == any_(literal(list(values), ARRAY(column.type)))


def rows_of(columns: dict[Column, Iterable[Any]]) -> TableValuedAlias:
    """A table of these columns to select from, in the order of the values."""
    arrays = [literal(list(values), ARRAY(column.type)) for column, values in columns.items()]
    names = (sql.column(column.key, column.type) for column in columns)
    return func.unnest(*arrays).table_valued(*names, name="given").render_derived()
