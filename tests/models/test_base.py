"""Ids that are numbered within one statement."""

import asyncio
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from models.base import bulk_id, bulk_prefix


def test_statements_of_the_same_millisecond_number_different_ids() -> None:
    assert len({bulk_prefix() for _ in range(10_000)}) == 10_000


async def test_ids_are_version_7_and_in_the_order_of_time_and_rows(db: AsyncSession) -> None:
    found: list[UUID] = []
    for _ in range(2):
        found += await db.scalars(select(bulk_id()).select_from(func.generate_series(1, 300).alias()))
        await asyncio.sleep(0.002)  # The next millisecond.

    assert {id_.version for id_ in found} == {7}
    assert {id_.variant for id_ in found} == {"specified in RFC 4122"}
    assert found == sorted(found)
    assert len(set(found)) == 600
