"""Imports: the file in chunks, how far it was read, and the rows that were refused."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from domain.imports import ImportKind, ImportState
from models.base import Base, CreatedAt, Id, Json, Tenant, one_of


def of_import() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["workspace_id", "import_id"], ["imports.workspace_id", "imports.id"], ondelete="CASCADE"
    )


class Import(Base):
    """One uploaded file. `position` and the counts move in the same transaction as the rows."""

    __tablename__ = "imports"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        CheckConstraint(one_of("kind", ImportKind), name="kind"),
        CheckConstraint(one_of("state", ImportState), name="state"),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    kind: Mapped[str]
    live: Mapped[bool]  # Live rows start flows; historical ones, the default, never do.
    file_name: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=ImportState.UPLOADED)
    size: Mapped[int] = mapped_column(BigInteger, server_default="0")  # Bytes.
    position: Mapped[int] = mapped_column(BigInteger, server_default="0")  # Bytes read and committed.
    line: Mapped[int] = mapped_column(server_default="0")  # Lines read and committed, the header included.
    format: Mapped[str] = mapped_column(server_default="csv")  # Or jsonl: one JSON object a line.
    mapping: Mapped[Json | None]  # A column of the file → what it is for us.
    dry_run: Mapped[bool] = mapped_column(server_default="false")  # Only the report; nothing is stored.
    list_id: Mapped[UUID | None]  # The list that the people of the file are put on.
    columns: Mapped[Json | None]  # {"names": [...]}: the header, once it was read.
    rows: Mapped[int] = mapped_column(server_default="0")
    imported: Mapped[int] = mapped_column(server_default="0")
    unchanged: Mapped[int] = mapped_column(server_default="0")
    rejected: Mapped[int] = mapped_column(server_default="0")
    reason: Mapped[str | None]  # Why the whole import failed, in words.
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ImportChunk(Base):
    """A piece of the uploaded file; removed when the import has ended."""

    __tablename__ = "import_chunks"
    __table_args__ = (of_import(),)

    workspace_id: Mapped[Tenant]
    import_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes]


class RejectedRow(Base):
    """A row that was refused, and why."""

    __tablename__ = "rejected_rows"
    __table_args__ = (of_import(),)

    workspace_id: Mapped[Tenant]
    import_id: Mapped[UUID] = mapped_column(primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True)  # 1 is the header.
    column: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]


class ImportKey(Base):
    """How often a line without an order id of its own was seen so far; removed with the chunks."""

    __tablename__ = "import_keys"
    __table_args__ = (of_import(),)

    workspace_id: Mapped[Tenant]
    import_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int]
