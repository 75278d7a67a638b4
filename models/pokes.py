"""Pokes: queues that have something due of which their workflow may not know yet."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from domain.messages import Work
from models.base import Base, one_of


class Poke(Base):
    __tablename__ = "pokes"
    __table_args__ = (CheckConstraint(one_of("work", Work), name="work"),)

    queue_id: Mapped[UUID] = mapped_column(primary_key=True)  # The flow's id, or the workspace's.
    work: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[UUID]
    seq: Mapped[int] = mapped_column(BigInteger, server_default=text("nextval('poke_seq')"))
    poked_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
