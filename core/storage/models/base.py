"""The declarative base: constraint names by convention, UUIDv7 keys, times in UTC, enums as checked text."""

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import DateTime, Enum, MetaData, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from core.domain.ids import new_id

Json = dict[str, Any]


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: DateTime(timezone=True), Json: JSONB}


class WithId(Base):
    __abstract__ = True

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)


def created_now() -> Mapped[datetime]:
    """A column that says when the row's transaction began, by Postgres' clock."""
    return mapped_column(server_default=func.now())


def text_enum(kind: type[StrEnum]) -> Enum:
    """Text with a check constraint: readable in SQL, and a new value needs no type migration."""
    return Enum(
        kind,
        native_enum=False,
        length=32,
        create_constraint=True,
        name=kind.__name__.lower(),
        values_callable=lambda members: [member.value for member in members],
    )
