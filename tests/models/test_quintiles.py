"""What parts buyers into fifths: exactly, and from a sample where there are many."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries.segment_fields import quintiles
from tests.models.test_estimates import a_crowd
from tests.sending import NOW

EACH = 4_000  # Buyers in a fifth.


async def buyers(db: AsyncSession) -> None:
    """Everybody spent another amount, from 1 to 20,000, and a few of them in euros as well."""
    await a_crowd(db, 5 * EACH)
    spent = """
        insert into order_rollups (workspace_id, profile_id, currency, total, count, first_at, last_at)
        select workspace_id, id, :currency, nth + 1, nth / 1000 + 1, :now, :now - nth * interval '1 hour'
        from (select p.*, cast(attributes ->> 'nth' as int) as nth from profiles p) p where nth < :most
    """
    for currency, most in (("USD", 5 * EACH), ("EUR", 5)):
        await db.execute(text(spent), {"currency": currency, "most": most, "now": NOW})


async def test_fifths_are_exact_up_to_a_number_of_buyers_and_about_right_beyond_it(
    sessions: Sessions,
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await buyers(db)
        exact = await quintiles(db, NOW, "USD", many=5 * EACH)
        about = await quintiles(db, NOW, "USD", many=5 * EACH - 1)
        again = await quintiles(db, NOW, "USD", many=5 * EACH - 1)
        few = await quintiles(db, NOW, "EUR", many=5)
        await db.rollback()

    assert exact is not None
    assert about is not None
    assert few is not None
    assert [*exact.total] == [EACH, 2 * EACH, 3 * EACH, 4 * EACH]
    assert again == about
    for true, found in zip(exact.total, about.total, strict=True):
        assert 0 < abs(found - true) < EACH / 4
    for days, found_days in zip(exact.days, about.days, strict=True):
        assert abs(found_days - days) < EACH / 4 / 24 + 1
    assert [*few.total] == [1, 2, 3, 4]  # However many there are in another currency.


async def test_without_buyers_there_are_no_fifths(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await quintiles(db, NOW, "USD") is None
