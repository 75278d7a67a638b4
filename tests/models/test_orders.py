"""Orders and what they add up to: stored by the pump, changed by the shop, in whatever order they come in."""

import random
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import orders
from tests.databases import Database
from tests.people import HERE, NOON, a_person, rows

_TAKE = """
    insert into taken (workspace_id, id, received_at, kind, trusted, historical, message_id, occurred_at,
        properties, profile_id)
    values (:workspace_id, :id, :at, :kind, true, :historical, null, :occurred_at,
        cast(:properties as jsonb), :profile_id)
    """
ROLLUPS = "select currency, total, count, first_at, last_at from order_rollups order by currency"
RIGHT = """
    select currency, sum(total - refunded), count(*), min(ordered_at), max(ordered_at) from orders
    where status <> 'cancelled' group by currency, profile_id order by currency
"""


async def take(
    db: AsyncSession,
    kind: str,
    properties: dict[str, Any],
    profile_id: UUID | None = None,
    at: datetime = NOON,
    historical: bool = False,
) -> UUID:
    """Put an arrival where the pump would have put it."""
    columns = ", ".join(
        f"{column} {type_}"
        for column, type_ in (
            ("workspace_id", "uuid"),
            ("id", "uuid"),
            ("received_at", "timestamptz"),
            ("kind", "text"),
            ("trusted", "boolean"),
            ("historical", "boolean"),
            ("message_id", "text"),
            ("occurred_at", "timestamptz"),
            ("properties", "jsonb"),
            ("profile_id", "uuid"),
        )
    )
    await db.execute(text(f"create temporary table if not exists taken ({columns}) on commit delete rows"))
    id_ = uuid7()
    values = {"id": id_, "kind": kind, "historical": historical, "at": NOON, "occurred_at": at}
    said = {"properties": orjson.dumps(properties).decode(), "profile_id": profile_id}
    await db.execute(text(_TAKE), {**HERE, **values, **said})
    return id_


async def placed(db: AsyncSession, profile_id: UUID, key: str, total: str, **more: Any) -> UUID:
    at = more.pop("at", NOON)
    told = {"key": key, "total": total, "currency": "USD", "quantity": 1, **more.pop("told", {})}
    return await take(db, "order", told, profile_id, at, **more)


async def pumped(db: AsyncSession) -> tuple[list[UUID], list[UUID]]:
    """The new live orders, and the changes whose order nobody knows."""
    done = (
        await orders.place(db, DEFAULT_WORKSPACE, NOON),
        await orders.change(db, DEFAULT_WORKSPACE, NOON),
    )
    await db.execute(text("delete from taken"))
    return done


async def order(db: AsyncSession, key: str) -> tuple[Any, ...]:
    [found] = await rows(db, "select total, refunded, status from orders where key = :key", key=key)
    assert isinstance(found, tuple)
    return found


async def test_an_order_is_stored_once_however_often_it_is_told(db: AsyncSession) -> None:
    ada = await a_person(db, "ada@shop.example")
    first = await placed(db, ada, "o1", "12.50", told={"lines": [{"sku": "a"}], "source": "api"})
    await placed(db, ada, "o1", "12.50")

    assert await pumped(db) == ([first], [])
    await placed(db, ada, "o1", "12.50")
    assert await pumped(db) == ([], [])

    assert await rows(db, "select id, key, lines, source from orders") == [
        (first, "o1", [{"sku": "a"}], "api")
    ]
    assert await rows(db, ROLLUPS) == [("USD", Decimal("12.5"), 1, NOON, NOON)]
    assert await rows(db, "select reason from refusals") == []


async def test_an_order_that_says_otherwise_changes_nothing_and_is_noted(db: AsyncSession) -> None:
    ada = await a_person(db)
    await placed(db, ada, "o1", "12.50")
    await pumped(db)
    await placed(db, ada, "o1", "99")

    assert await pumped(db) == ([], [])

    assert await order(db, "o1") == (Decimal("12.5"), 0, "placed")
    [(stage, name, pointer)] = await rows(db, "select stage, name, pointer from refusals")
    assert (stage, name, pointer) == ("field", "o1", "/total")


async def test_of_two_orders_of_a_batch_that_contradict_one_another_the_second_is_noted(
    db: AsyncSession,
) -> None:
    ada, bob = await a_person(db), await a_person(db)
    for key, more in (
        ("total", {"total": "9"}),
        ("currency", {"currency": "EUR"}),
        ("quantity", {"quantity": 2}),
        ("same", {}),
    ):
        await placed(db, ada, key, "5")
        await placed(db, ada, key, "5", told=more)
    await placed(db, ada, "person", "5")
    await placed(db, bob, "person", "5")

    await pumped(db)

    assert await rows(db, "select name, pointer from refusals order by name") == [
        ("currency", "/currency"),
        ("person", ""),
        ("quantity", "/quantity"),
        ("total", "/total"),
    ]
    assert await rows(db, "select distinct total, currency, quantity, profile_id from orders") == [
        (5, "USD", 1, ada)
    ]


async def test_an_order_that_comes_again_as_somebody_elses_is_noted(db: AsyncSession) -> None:
    ada, bob = await a_person(db), await a_person(db)
    await placed(db, ada, "o1", "5")
    await pumped(db)
    await placed(db, bob, "o1", "5")
    await pumped(db)

    [reason] = await rows(db, "select reason from refusals")
    assert "somebody else's" in reason
    assert await rows(db, "select profile_id from orders") == [ada]


async def test_historical_orders_count_and_are_not_among_the_new_ones(db: AsyncSession) -> None:
    ada = await a_person(db)
    await placed(db, ada, "old", "5", historical=True, at=NOON - timedelta(days=400))
    live = await placed(db, ada, "new", "7")

    assert await pumped(db) == ([live], [])

    assert await rows(db, ROLLUPS) == [("USD", 12, 2, NOON - timedelta(days=400), NOON)]


async def test_a_late_order_moves_the_first_date_and_currencies_stay_apart(db: AsyncSession) -> None:
    ada = await a_person(db)
    await placed(db, ada, "b", "7", at=NOON)
    await pumped(db)
    await placed(db, ada, "a", "3", at=NOON - timedelta(days=9))
    await placed(db, ada, "c", "8", told={"currency": "EUR"})
    await pumped(db)

    assert await rows(db, ROLLUPS) == [
        ("EUR", 8, 1, NOON, NOON),
        ("USD", 10, 2, NOON - timedelta(days=9), NOON),
    ]


async def test_refunds_and_cancellations_leave_the_sums_and_take_them_away_with_the_last(
    db: AsyncSession,
) -> None:
    ada = await a_person(db)
    await placed(db, ada, "a", "10", at=NOON - timedelta(days=1))
    await placed(db, ada, "b", "7")
    await pumped(db)
    await take(db, "order change", {"key": "a", "refunded": "4"})
    await pumped(db)
    assert await order(db, "a") == (10, 4, "refunded")
    assert await rows(db, ROLLUPS) == [("USD", 13, 2, NOON - timedelta(days=1), NOON)]

    await take(db, "order change", {"key": "b", "status": "cancelled"})
    await pumped(db)
    assert await rows(db, ROLLUPS) == [("USD", 6, 1, NOON - timedelta(days=1), NOON - timedelta(days=1))]

    await take(db, "order change", {"key": "a", "status": "cancelled"}, at=NOON + timedelta(hours=1))
    await pumped(db)
    assert await rows(db, ROLLUPS) == []


async def test_all_of_an_order_is_refunded_when_no_amount_is_named(db: AsyncSession) -> None:
    await placed(db, await a_person(db), "a", "10")
    await pumped(db)
    await take(db, "order change", {"key": "a", "status": "refunded"})
    await pumped(db)

    assert await order(db, "a") == (10, 10, "refunded")
    assert await rows(db, ROLLUPS) == [("USD", 0, 1, NOON, NOON)]


async def test_a_cancelled_order_stays_cancelled_whatever_comes_after(db: AsyncSession) -> None:
    ada = await a_person(db)
    later: list[dict[str, Any]] = [
        {"refunded": "3", "status": "refunded"},
        {"refunded": "3"},
        {"refunded": "0", "status": "placed"},
        {"total": "20"},
    ]
    for key in ("one batch", "two batches"):
        await placed(db, ada, key, "10")
        await take(db, "order change", {"key": key, "status": "cancelled"})
        if key == "two batches":
            await pumped(db)
        for change in later:
            await take(db, "order change", {"key": key, **change}, at=NOON + timedelta(hours=1))
        await take(db, "order change", {"key": key, "status": "cancelled"}, at=NOON + timedelta(hours=2))
        await pumped(db)

        assert await order(db, key) == (10, 0, "cancelled")
        noted = await rows(db, "select kind, pointer from refusals where name = :key", key=key)
        assert noted == [("order change", "/status")] * len(later)
    assert await rows(db, ROLLUPS) == []


async def test_a_cancellation_that_is_older_than_what_holds_is_passed_over(db: AsyncSession) -> None:
    await placed(db, await a_person(db), "a", "10")
    changes: list[tuple[dict[str, Any], int]] = [
        ({"refunded": "4", "status": "refunded"}, 2),
        ({"status": "cancelled"}, 1),
        ({"refunded": "5", "status": "refunded"}, 3),
    ]
    for change, hours in changes:
        await take(db, "order change", {"key": "a", **change}, at=NOON + timedelta(hours=hours))
    await pumped(db)

    assert await order(db, "a") == (10, 5, "refunded")
    assert await rows(db, "select reason from refusals") == []


async def test_an_older_change_that_comes_late_is_passed_over(db: AsyncSession) -> None:
    await placed(db, await a_person(db), "a", "10")
    await take(db, "order change", {"key": "a", "refunded": "4"}, at=NOON + timedelta(hours=2))
    await take(db, "order change", {"key": "a", "refunded": "1"}, at=NOON + timedelta(hours=1))
    await pumped(db)
    assert await order(db, "a") == (10, 4, "refunded")

    await take(db, "order change", {"key": "a", "status": "cancelled"}, at=NOON + timedelta(hours=1))
    await pumped(db)
    assert await order(db, "a") == (10, 4, "refunded")


async def test_a_change_of_what_nobody_knows_is_told_and_the_others_say_whose_they_are(
    db: AsyncSession,
) -> None:
    ada = await a_person(db)
    await placed(db, ada, "a", "10")
    lost = await take(db, "order change", {"key": "b", "refunded": "4"})
    known = await take(db, "order change", {"key": "a", "refunded": "4"})

    await orders.place(db, DEFAULT_WORKSPACE, NOON)
    assert await orders.change(db, DEFAULT_WORKSPACE, NOON) == [lost]

    assert await rows(db, "select profile_id from taken where id = :id", id=known) == [ada]


async def test_a_batch_may_be_cut_anywhere_and_the_sums_are_always_right(db: AsyncSession) -> None:
    chance = random.Random(7)
    ada = await a_person(db)
    told: list[tuple[str, dict[str, Any], timedelta]] = []
    for n in range(12):
        currency = chance.choice(["USD", "EUR"])
        order_ = {"key": f"o{n}", "total": str(chance.randint(1, 99)), "currency": currency, "quantity": 1}
        told.append(("order", order_, timedelta(days=chance.randint(-30, 0))))
    for _ in range(60):
        changed: dict[str, Any] = {"key": f"o{chance.randrange(12)}"}
        if chance.random() < 0.7:
            changed["refunded"] = str(chance.randint(0, 50))
        changed["status"] = chance.choice(["placed", "refunded", "cancelled"])
        told.append(("order change", changed, timedelta(hours=chance.randint(0, 40))))
    outcomes = []
    for size in (1, 7, 100):
        for first in range(0, len(told), size):
            for kind, what, after in told[first : first + size]:
                await take(db, kind, what, ada if kind == "order" else None, NOON + after)
            await pumped(db)
        assert await rows(db, ROLLUPS) == await rows(db, RIGHT)
        outcomes.append(
            await rows(db, "select key, total, status, refunded, changed_at from orders order by key")
        )
        await db.execute(text("delete from orders"))
        await db.execute(text("delete from order_rollups"))

    assert outcomes[0] == outcomes[1] == outcomes[2]


async def test_the_bare_driver_does_the_same_by_index_look_ups(
    sessions: Sessions, database: Database
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        ada = await a_person(db, "ada@shop.example")
    async with sessions.batch(DEFAULT_WORKSPACE) as batch:
        await batch.execute(text(_LIKE_THE_PUMPS))
        for statement in (_SOME_ORDERS, _SOME_CHANGES):
            await batch.execute(text(statement), {"workspace": DEFAULT_WORKSPACE, "ada": ada, "now": NOON})
        new = await orders.place(batch, DEFAULT_WORKSPACE, NOON)
        unknown = await orders.change(batch, DEFAULT_WORKSPACE, NOON)

    assert (len(new), len(unknown)) == (50, 1)
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await rows(db, ROLLUPS) == await rows(db, RIGHT)


_LIKE_THE_PUMPS = """
    create temporary table taken (
        workspace_id uuid, id uuid, received_at timestamptz, kind text, trusted boolean, historical boolean,
        message_id text, occurred_at timestamptz, name text, email text, phone text, user_id text,
        anonymous_id text, properties jsonb, context jsonb, consents jsonb, profile_id uuid
    ) on commit delete rows
    """
_SOME_ORDERS = """
    insert into taken (workspace_id, id, kind, historical, occurred_at, properties, profile_id)
    select cast(:workspace as uuid), uuidv7(), 'order', false, cast(:now as timestamptz),
        jsonb_build_object('key', 'o' || n, 'total', '10', 'currency', 'USD', 'quantity', 1),
        cast(:ada as uuid)
    from generate_series(1, 50) n
    """
_SOME_CHANGES = """
    insert into taken (workspace_id, id, kind, historical, occurred_at, properties)
    select cast(:workspace as uuid), uuidv7(), 'order change', false, cast(:now as timestamptz),
        jsonb_build_object('key', 'o' || n * 10, 'status', 'cancelled')
    from generate_series(1, 6) n
    """
