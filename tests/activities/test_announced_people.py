"""What becomes of people, and what they do, is told to the webhooks that ask; history is not."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.profiles import ConsentState, IdentityKind, Purpose
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import (
    announced_people,
    profiles,
    profiles_erased,
    profiles_merged,
    profiles_written,
    segments_written,
)
from models.queries.profiles_written import Item
from tests.announcing import Told, a_webhook, listening, told, types, were_told
from tests.arrivals import arrival, look, pump, put
from tests.importing import loaded, uploaded
from tests.people import a_message, a_person
from tests.sending import NOW
from tests.support import GivenClock

PRO = {"kind": "attribute", "name": "plan", "op": "is", "value": "pro"}


def of(found: list[Told], type_: str) -> list[dict[str, Any]]:
    return [data for each, data in found if each == type_]


async def test_who_comes_is_told_of_with_what_they_did_and_said(
    sessions: Sessions, clock: GivenClock
) -> None:
    await listening(sessions)
    said = {"plan": "pro", "city": "Köln"}
    await put(
        sessions,
        arrival(name="Page Viewed", anonymous_id="a1", properties={"page": "/pricing"}),
        arrival("identify", anonymous_id="a1", user_id="u1", email="ada@shop.example", properties=said),
    )
    await pump(sessions, clock)
    first = await were_told(sessions)
    await put(
        sessions,
        arrival("identify", user_id="u1", properties={"plan": "free", "city": "Köln", "age": 7}),
        arrival("identify", user_id="u1", properties={"city": None}, consents={"email": "granted"}),
        arrival("identify", user_id="u1", phone="+4915112345678"),
    )
    await pump(sessions, clock)
    second = await were_told(sessions)
    await put(sessions, arrival("identify", user_id="u1", properties={"plan": "free"}))
    await pump(sessions, clock)

    assert types(first) == ["profile.created", "event.received"]
    assert (first[0][1]["user_id"], first[0][1]["email"]) == ("u1", "ada@shop.example")
    assert first[0][1]["attributes"] == said
    event = first[1][1]
    assert (event["name"], event["kind"], event["properties"]) == (
        "Page Viewed",
        "track",
        {"page": "/pricing"},
    )
    assert event["profile_id"] == first[0][1]["profile_id"]
    assert types(second) == ["profile.updated", "profile.consent_changed"]
    assert second[0][1]["changed"] == {"plan": "free", "age": 7, "city": None}
    assert (second[1][1]["purpose"], second[1][1]["state"]) == ("email", "granted")
    assert await were_told(sessions) == []


async def test_a_name_alone_is_told_as_a_change_of_nothing_else(
    sessions: Sessions, clock: GivenClock
) -> None:
    await put(sessions, arrival("identify", user_id="u1"))
    await pump(sessions, clock)
    await listening(sessions)
    await put(sessions, arrival("identify", user_id="u1", email="ada@shop.example"))

    await pump(sessions, clock)

    [(type_, data)] = await were_told(sessions)
    assert (type_, data["changed"]) == ("profile.updated", {})


async def test_an_order_is_told_as_an_event(sessions: Sessions, clock: GivenClock) -> None:
    await listening(sessions, "event.received")
    order = {"key": "o1", "total": "12.00", "currency": "EUR", "quantity": 1}
    await put(sessions, arrival("order", user_id="u1", properties=order))
    await pump(sessions, clock)
    head = "customer_id,ordered_at,quantity,total,currency,order_id\n"
    await loaded(sessions, await uploaded(sessions, "customers", "customer_id,email\nu2,bob@shop.example\n"))
    for live in (True, False):
        row = f"u2,2026-03-01T10:00:00Z,1,9.00,USD,live{live}\n"
        await loaded(sessions, await uploaded(sessions, "orders", head + row, live=live))

    found = of(await were_told(sessions), "event.received")
    assert [(each["kind"], each["name"], each["properties"]["order"]) for each in found] == [
        ("order", "order placed", "o1"),
        ("order", "order placed", "liveTrue"),
    ]


async def test_who_comes_into_a_segment_and_leaves_it_is_told_of(
    sessions: Sessions, clock: GivenClock
) -> None:
    await listening(sessions, "segment.*")
    await put(sessions, arrival("identify", user_id="u0", properties={"plan": "pro"}))
    await pump(sessions, clock)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await segments_written.create(db, DEFAULT_WORKSPACE, "Professionals", PRO)
    await look(sessions, clock)  # A first look at everybody says nothing.
    for plan in ("pro", "free"):
        await put(sessions, arrival("identify", user_id="u1", properties={"plan": plan}))
        await pump(sessions, clock)

    found = await were_told(sessions)
    assert types(found) == ["segment.entered", "segment.left"]
    assert {data["user_id"] for _, data in found} == {"u1"}
    assert {data["segment"] for _, data in found} == {"Professionals"}


async def test_history_tells_of_nobody_but_does_not_hide_what_is_live(
    sessions: Sessions, clock: GivenClock
) -> None:
    await listening(sessions)
    await put(
        sessions,
        arrival("identify", user_id="old", historical=True, properties={"plan": "pro"}),
        arrival(user_id="old", historical=True),
        arrival("identify", user_id="new", properties={"plan": "pro"}),
    )
    await pump(sessions, clock)
    await loaded(sessions, await uploaded(sessions, "customers", "customer_id,email\nu2,bob@shop.example\n"))

    found = await were_told(sessions)
    assert types(found) == ["profile.created", "import.finished"]
    assert found[0][1]["user_id"] == "new"


async def test_what_the_api_writes_is_told_in_one_go(db: AsyncSession) -> None:
    await a_webhook(db)
    ada, bob = (
        Item({IdentityKind.EMAIL: f"{name}@shop.example"}, {"n": 1, "gone": "x"}, source="api")
        for name in ("ada", "bob")
    )
    written = await profiles_written.write(db, DEFAULT_WORKSPACE, [ada, bob], NOW)
    first = await told(db)
    allowed = {Purpose.EMAIL: ConsentState.GRANTED}
    change = Item(ada.names, {"n": 2, "gone": None, "flag": True}, consents=allowed)
    await profiles_written.write(db, DEFAULT_WORKSPACE, [change, bob], NOW)
    second = await told(db)
    await profiles_written.write(db, DEFAULT_WORKSPACE, [change, bob], NOW)

    assert types(first) == ["profile.created"] * 2
    assert [data["profile_id"] for _, data in first] == [str(each.profile_id) for each in written]
    assert types(second) == ["profile.updated", "profile.consent_changed"]
    assert second[0][1]["changed"] == {"n": 2, "gone": None, "flag": True}
    assert await told(db) == []


async def test_what_somebody_says_themselves_is_told_once(db: AsyncSession) -> None:
    who = await a_person(db, "ada@shop.example")
    await a_webhook(db, "profile.consent_changed")

    for _ in range(2):
        await profiles.unsubscribe_profile(db, who, NOW, "person")

    [(_, data)] = await told(db)
    assert (data["purpose"], data["state"], data["source"]) == ("email", "denied", "person")


async def test_a_merge_is_told_with_both_ids(db: AsyncSession) -> None:
    one, other = await a_person(db, "one@shop.example"), await a_person(db, "other@shop.example")
    await a_webhook(db, "profile.merged")

    for _ in range(2):
        await profiles_merged.merge(db, one, other, NOW)

    [(_, data)] = await told(db)
    assert (data["merged_profile_id"], data["profile_id"]) == (str(one), str(other))


async def test_an_erasure_is_told_by_each_id_and_takes_along_what_was_told_of_the_person(
    db: AsyncSession,
) -> None:
    one, other = await a_person(db, "one@shop.example"), await a_person(db, "other@shop.example")
    await a_webhook(db)
    await profiles_merged.merge(db, one, other, NOW)
    await profiles_written.write(
        db, DEFAULT_WORKSPACE, [Item({IdentityKind.EMAIL: "one@shop.example"}, {"n": 1})], NOW
    )
    message = await a_message(db, None, "one@shop.example")
    await profiles.unsubscribe(db, message, NOW)

    for _ in range(2):
        await profiles_erased.erase(db, other, NOW)

    bodies = [*(await db.scalars(text("select body from webhook_deliveries")))]
    found = await told(db)
    assert not [body for body in bodies if "@shop.example" in body]
    assert {(type_, UUID(data["profile_id"])) for type_, data in found} == {
        ("profile.erased", one),
        ("profile.erased", other),
    }
    assert len(found) == 2


async def test_an_erasure_takes_along_nothing_that_was_told_of_others(db: AsyncSession) -> None:
    await a_webhook(db)
    ann = await a_person(db, "ann@shop.example")
    for address in ("ann@shop.example", "joann@shop.example", "ann@shop.example.org"):
        await profiles.unsubscribe(db, await a_message(db, None, address), NOW)
    told_of = {IdentityKind.EMAIL: "bob@shop.example"}
    await profiles_written.write(db, DEFAULT_WORKSPACE, [Item(told_of, {"friend": "ann@shop.example"})], NOW)

    await profiles_erased.erase(db, ann, NOW)

    said = [data for _, data in await told(db)]
    assert {each["address"] for each in said if "address" in each} == {
        "joann@shop.example",
        "ann@shop.example.org",
    }
    assert [each["email"] for each in said if each.get("email")] == ["bob@shop.example"]


async def test_what_is_long_is_cut_and_says_so(db: AsyncSession) -> None:
    await a_webhook(db)
    many: dict[str, Any] = {f"a{n:03}": n for n in range(300)}
    who = await a_person(db, "ada@shop.example", consents=None, long="x" * 99_000, **many)
    await announced_people.updated(db, {who: {"a000": "y" * 2_000}}, NOW)
    [(_, small)] = await told(db)
    await db.execute(text("update profiles set attributes = attributes || jsonb_build_object('huge', 1e300)"))

    await announced_people.created(db, [who], NOW)

    [(_, data)] = await told(db)
    assert (len(small["changed"]["a000"]), small["truncated"]) == (2_000, False)
    assert data["truncated"]
    assert len(data["attributes"]) == 100
    assert "long" not in data["attributes"]


@pytest.mark.parametrize("asked", [["message.*"], []])
async def test_where_nobody_asks_nothing_is_written(
    sessions: Sessions, clock: GivenClock, asked: list[str]
) -> None:
    if asked:
        await listening(sessions, *asked)
    await put(sessions, arrival("identify", user_id="u1", properties={"plan": "pro"}), arrival(user_id="u1"))

    await pump(sessions, clock)

    assert await were_told(sessions) == []
