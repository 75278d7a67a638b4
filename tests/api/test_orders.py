"""Orders by HTTP: checked at once, kept in the inbox before we answer, told once however often they come."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from httpx2 import AsyncClient
from sqlalchemy import text

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from tests.api.support import V1, created, refusal
from tests.importing import imported
from tests.models.test_orders import placed, pumped
from tests.people import NOON, a_person

ADA = {"user_id": "c1", "total": "29.33", "ordered_on": "2025-12-24"}
_INBOX = """
    select kind, trusted, historical, occurred_at, email, user_id, phone, properties
    from inbox order by workspace_id, id
"""


async def inbox(sessions: Sessions) -> list[Any]:
    async with sessions.engine() as db:
        return list(await db.execute(text(_INBOX)))


async def refused(sessions: Sessions) -> list[tuple[Any, ...]]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        asked = text("select stage, kind, name, pointer from refusals order by pointer")
        return [tuple(row) for row in await db.execute(asked)]


async def stored(sessions: Sessions, key: str, total: str = "10", **more: Any) -> UUID:
    """An order as the pump leaves it. Returns its buyer."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        buyer = await a_person(db, f"{key}@shop.example")
        await placed(db, buyer, key, total, **more)
        await pumped(db)
    return buyer


async def test_an_order_is_in_the_inbox_when_it_is_answered(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    body = {
        "order_id": "o1",
        "email": "Ada@Example.com ",
        "phone": "+442079460018",
        "total": 120.5,
        "currency": "eur",
        "ordered_at": "2026-01-15T10:24:00+01:00",
        "lines": [{"sku": "LP", "quantity": 2, "price": "60.25"}],
    }
    answer = await lonely_api.post(f"{V1}/orders", json=body)

    assert (answer.status_code, answer.json()) == (202, {"key": "o1"})
    [row] = await inbox(sessions)
    assert (row.kind, row.trusted, row.historical) == ("order", True, False)
    assert (row.email, row.user_id, row.phone) == ("ada@example.com", None, "+442079460018")
    assert row.occurred_at == datetime(2026, 1, 15, 9, 24, tzinfo=UTC)
    assert row.properties == {
        "key": "o1",
        "total": "120.50",
        "currency": "EUR",
        "quantity": 2,
        "status": "placed",
        "refunded": "0.00",
        "lines": [{"sku": "LP", "quantity": 2, "price": "60.25"}],
        "source": "api",
    }


async def test_orders_without_an_id_have_the_keys_that_a_file_would_give_them(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    timed = {"user_id": "c1", "total": "5.00", "ordered_at": "2025-12-24T10:00:00Z", "quantity": 3}
    body = {"orders": [ADA, ADA, timed]}
    told = await created(await lonely_api.post(f"{V1}/orders/batch", json=body))
    keys = {each["key"] for each in told["accepted"]}

    await imported(sessions, "customers", "customer_id\nc1\n")
    days = "customer_id,ordered_on,quantity,total\nc1,2025-12-24,1,29.33\nc1,2025-12-24,1,29.33\n"
    times = "customer_id,ordered_at,quantity,total\nc1,2025-12-24T10:00:00Z,3,5.00\n"
    for file in (days, times):
        await imported(sessions, "orders", file)
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert set(await db.scalars(text("select key from orders"))) == keys
    again = await created(await lonely_api.post(f"{V1}/orders/batch", json=body))
    assert again == told


async def test_a_bad_order_costs_no_neighbour_its_place(lonely_api: AsyncClient, sessions: Sessions) -> None:
    bad = [
        {"user_id": "c2", "ordered_on": "2025-12-24"},
        {**ADA, "order_id": "no", "total": "-3"},
        {**ADA, "currency": "XYZ"},
        {"total": "3", "ordered_on": "2025-12-24"},
        {**ADA, "user_id": "nul\0"},
        {**ADA, "ordered_on": "2999-01-01"},
        {**ADA, "refunded": "30"},
        {**ADA, "lines": [{"quantity": 0}]},
        {**ADA, "colour": "red"},
        {"user_id": "c2", "total": "3"},
    ]
    answer = await lonely_api.post(f"{V1}/orders/batch", json={"orders": [*bad, ADA]})

    assert answer.status_code == 202
    told = answer.json()
    assert [each["index"] for each in told["accepted"]] == [10]
    assert [each["pointer"] for each in told["refused"]] == [
        "/orders/0/total",
        "/orders/1/total",
        "/orders/2/currency",
        "/orders/3",
        "/orders/4/user_id",
        "/orders/5/ordered_on",
        "/orders/6/refunded",
        "/orders/7/lines/0/quantity",
        "/orders/8/colour",
        "/orders/9",
    ]
    assert len(await inbox(sessions)) == 1
    noted = await refused(sessions)
    assert len(noted) == 10
    assert ("request", "order", "no", "/orders/1/total") in noted


async def test_of_two_orders_of_a_request_that_contradict_one_another_the_second_is_refused(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    first = {**ADA, "order_id": "o1", "email": "ada@shop.example"}
    others = [
        {**first, "total": "30"},
        {**first, "currency": "EUR"},
        {**first, "quantity": 2},
        {**first, "user_id": "c2"},
        {"order_id": "o1", "total": "29.330", "ordered_on": "2025-12-24", "email": "Ada@Shop.example"},
    ]
    told = await created(await lonely_api.post(f"{V1}/orders/batch", json={"orders": [first, *others]}))

    assert [each["index"] for each in told["accepted"]] == [0, 5]
    assert [each["pointer"] for each in told["refused"]] == [
        "/orders/1/total",
        "/orders/2/currency",
        "/orders/3/quantity",
        "/orders/4/user_id",
    ]
    assert "its total is 29.33:" in told["refused"][0]["detail"]
    assert len(await refused(sessions)) == 4


async def test_a_refusal_says_what_is_wrong_and_how_to_write_it(lonely_api: AsyncClient) -> None:
    async def why(**said: Any) -> str:
        answer = await lonely_api.post(f"{V1}/orders", json={**ADA, **said})
        [error] = refusal(answer, 422)["errors"]
        assert isinstance(error["detail"], str)
        return error["detail"]

    assert await why(refunded="-1") == "It must not be negative."
    assert await why(total=-1) == "It must not be negative."
    assert "too large" in await why(total="99999999999999999999")
    assert "2026-01-15T10:24:00Z" in await why(ordered_on=None, ordered_at="15.1.2026")
    assert "such as 2026-01-15." in await why(ordered_on="15.1.2026")
    for path in ("orders?from=yesterday", "events?since=yesterday", "exports/events?from=yesterday"):
        problem = refusal(await lonely_api.get(f"{V1}/{path}"), 422)
        assert "2026-01-15T10:24:00Z" in problem["detail"]


async def test_a_batch_of_which_nothing_can_be_kept_is_refused(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    answer = await lonely_api.post(f"{V1}/orders/batch", json={"orders": [{"total": "1"}, {}]})

    problem = refusal(answer, 422)
    assert [each["pointer"] for each in problem["errors"]] == ["/orders/0", "/orders/1/total"]
    assert await inbox(sessions) == []
    refusal(await lonely_api.post(f"{V1}/orders/batch", json={"orders": [ADA] * 1001}), 422)
    refusal(await lonely_api.post(f"{V1}/orders/batch", json={"orders": []}), 422)


async def test_half_a_character_breaks_nothing(lonely_api: AsyncClient) -> None:
    for body in (
        rb'{"orders": [{"order_id": "\ud800", "user_id": "c1", "total": "1"}]}',
        rb'{"orders": [{"\ud800": "x", "user_id": "c1", "total": "1", "ordered_on": "2025-12-24"}]}',
        rb'{"orders": [{"user_id": "c1", "total": 1e999, "ordered_on": "2025-12-24"}]}',
        rb'{"orders": [{"user_id": "c1", "total": NaN, "ordered_on": "2025-12-24"}]}',
    ):
        headers = {"Content-Type": "application/json"}
        refusal(await lonely_api.post(f"{V1}/orders/batch", content=body, headers=headers), 422)


async def test_an_order_that_is_there_and_says_otherwise_is_a_conflict(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    await stored(sessions, "o1", "10")
    same = {"order_id": "o1", "user_id": "c1", "total": "10.00", "currency": "USD"}

    assert (await lonely_api.post(f"{V1}/orders", json=same)).status_code == 202
    problem = refusal(await lonely_api.post(f"{V1}/orders", json={**same, "total": "11"}), 409)
    assert "its total is 10.00" in problem["detail"]
    assert ("request", "order", "o1", "/total") in await refused(sessions)


async def test_a_refund_is_checked_at_once_and_written_as_a_change(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    await stored(sessions, "o1", "10")

    too_much = refusal(await lonely_api.patch(f"{V1}/orders/o1", json={"refunded": "10.01"}), 422)
    assert "the order's total, 10.00" in too_much["detail"]
    refusal(await lonely_api.patch(f"{V1}/orders/o1", json={}), 422)
    refusal(await lonely_api.patch(f"{V1}/orders/o1", json={"status": "placed"}), 422)
    refusal(await lonely_api.patch(f"{V1}/orders/o1", json={"status": "refunded", "refunded": 0}), 422)
    refusal(await lonely_api.patch(f"{V1}/orders/o1", json={"status": "cancelled", "refunded": 1}), 422)
    future = {"refunded": 1, "changed_at": "2999-01-01T00:00:00Z"}
    refusal(await lonely_api.patch(f"{V1}/orders/o1", json=future), 422)
    refusal(await lonely_api.patch(f"{V1}/orders/o2", json={"refunded": "1"}), 404)
    changes: list[dict[str, Any]] = [{"refunded": 4}, {"status": "refunded"}, {"refunded": "0"}]
    for change in (*changes, {"status": "cancelled"}):
        assert (await lonely_api.patch(f"{V1}/orders/o1", json=change)).status_code == 202

    assert [(row.kind, row.properties) for row in await inbox(sessions)] == [
        ("order change", {"key": "o1", "status": "refunded", "refunded": "4.00"}),
        ("order change", {"key": "o1", "status": "refunded", "refunded": "10.00"}),
        ("order change", {"key": "o1", "status": "placed", "refunded": "0.00"}),
        ("order change", {"key": "o1", "status": "cancelled"}),
    ]


async def test_an_order_that_still_waits_can_be_changed_by_its_key(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    body = {**ADA, "order_id": "o1"}
    await created(await lonely_api.post(f"{V1}/orders", json=body))

    refusal(await lonely_api.patch(f"{V1}/orders/o1", json={"refunded": "29.34"}), 422)
    answer = await lonely_api.patch(f"{V1}/orders/o1", json={"refunded": "20"})

    assert (answer.status_code, answer.json()) == (202, {"key": "o1"})
    [_, change] = await inbox(sessions)
    assert change.properties == {"key": "o1", "status": "refunded", "refunded": "20.00"}
    refusal(await lonely_api.patch(f"{V1}/orders/o2", json={"refunded": "1"}), 404)


async def test_a_cancelled_order_cannot_be_refunded_and_old_news_is_refused(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    await stored(sessions, "o1", told={"status": "cancelled"})
    await stored(sessions, "o2")
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update orders set changed_at = :now where key = 'o2'"), {"now": NOON})

    refusal(await lonely_api.patch(f"{V1}/orders/o1", json={"refunded": 1}), 409)
    old = {"refunded": 1, "changed_at": "2026-02-01T00:00:00Z"}
    refusal(await lonely_api.patch(f"{V1}/orders/o2", json=old), 409)


async def test_orders_are_read_by_id_by_key_and_by_what_they_say(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    ada = await stored(sessions, "o1", "12.5", told={"lines": [{"sku": "LP"}]})
    await stored(sessions, "o2", "7", at=datetime(2026, 1, 1, tzinfo=UTC), told={"currency": "EUR"})
    await stored(sessions, "o3", "7", told={"status": "cancelled"})

    one = await created(await lonely_api.get(f"{V1}/orders/o1"))
    assert await created(await lonely_api.get(f"{V1}/orders/{one['id']}")) == one
    assert (one["total"], one["refunded"], one["lines"]) == ("12.50", "0.00", [{"sku": "LP"}])
    assert one["profile_id"] == str(ada)

    async def keys(**asked: Any) -> list[str]:
        found = await created(await lonely_api.get(f"{V1}/orders", params=asked))
        return [each["key"] for each in found["items"]]

    assert await keys() == ["o3", "o2", "o1"]
    assert await keys(profile_id=str(ada)) == ["o1"]
    assert await keys(email="O1@Shop.example") == ["o1"]
    assert await keys(**{"from": "2026-02-01"}) == ["o3", "o1"]
    assert await keys(to="2026-02-01T00:00:00Z") == ["o2"]
    assert await keys(status="cancelled") == ["o3"]
    assert await keys(currency="EUR") == ["o2"]
    first = await created(await lonely_api.get(f"{V1}/orders", params={"limit": 2}))
    rest = await lonely_api.get(f"{V1}/orders", params={"limit": 2, "cursor": first["next_cursor"]})
    assert [each["key"] for each in (await created(rest))["items"]] == ["o1"]
    refusal(await lonely_api.get(f"{V1}/orders", params={"profile_id": str(DEFAULT_WORKSPACE)}), 404)
    refusal(await lonely_api.get(f"{V1}/orders", params={"email": "nobody@shop.example"}), 404)
    both = {"email": "o1@shop.example", "profile_id": str(ada)}
    assert refusal(await lonely_api.get(f"{V1}/orders", params=both), 422)["errors"][0]["in"] == "query"
    refusal(await lonely_api.get(f"{V1}/orders/nothing"), 404)


async def test_a_merged_profiles_orders_are_found_by_its_old_id(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    ada = await stored(sessions, "o1")
    async with sessions(DEFAULT_WORKSPACE) as db:
        survivor = await a_person(db)
        values = {"survivor": survivor, "ada": ada}
        await db.execute(text("update profiles set merged_into = :survivor where id = :ada"), values)
        await db.execute(text("update orders set profile_id = :survivor"), values)

    found = await created(await lonely_api.get(f"{V1}/orders", params={"profile_id": str(ada)}))
    assert [Decimal(each["total"]) for each in found["items"]] == [10]
