"""Events to read: the newest first, with the catalogue, what was refused, and what was put aside."""

from datetime import timedelta
from typing import Any

from httpx2 import AsyncClient
from sqlalchemy import text

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import arrivals
from models.queries.arrivals import Coming
from tests.api.support import V1, created, refusal
from tests.people import NOON, a_person, an_event, put_aside, rows

LATER = NOON + timedelta(days=40)  # Events are kept by month.


async def got(api: AsyncClient, path: str, **asked: Any) -> list[dict[str, Any]]:
    items = (await created(await api.get(f"{V1}/events{path}", params=asked)))["items"]
    assert isinstance(items, list)
    return items


async def test_events_come_the_newest_first_by_name_and_by_person(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        ada, bob = await a_person(db), await a_person(db)
        for n in range(5):
            await an_event(db, ada, at=NOON + timedelta(hours=n), properties={"n": n})
        await an_event(db, bob, "Cart Left", LATER, context={"page": "/"})
        await db.execute(
            text("update profiles set merged_into = :bob where id = :ada"), {"ada": ada, "bob": bob}
        )

    assert [each["name"] for each in await got(lonely_api, "")] == ["Cart Left", *["Product Viewed"] * 5]
    named = {"name": "Product Viewed", "limit": "2"}
    page = await created(await lonely_api.get(f"{V1}/events", params=named))
    seen = [each["properties"]["n"] for each in page["items"]]
    while page["next_cursor"]:
        asked = {**named, "cursor": page["next_cursor"]}
        page = await created(await lonely_api.get(f"{V1}/events", params=asked))
        seen += [each["properties"]["n"] for each in page["items"]]
    assert seen == [4, 3, 2, 1, 0]
    since = (NOON + timedelta(hours=3)).isoformat()
    assert [each["properties"] for each in await got(lonely_api, "", name="Product Viewed", since=since)] == [
        {"n": 4},
        {"n": 3},
    ]
    for person in (ada, bob):  # The one was merged into the other.
        assert len(await got(lonely_api, "", profile_id=str(person))) == 6
    [last] = await got(lonely_api, "", limit=1)
    assert (last["context"], last["kind"], last["hops"]) == ({"page": "/"}, "track", 0)
    refusal(await lonely_api.get(f"{V1}/events", params={"profile_id": str(DEFAULT_WORKSPACE)}), 404)


async def test_the_catalogue_tells_what_was_seen_and_keeps_a_name_to_servers(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        ada = await a_person(db)
        for name in ("Cart/Left", "Product Viewed"):
            await an_event(db, ada, name)

    first = await created(await lonely_api.get(f"{V1}/events/catalogue", params={"limit": 1}))
    assert first["next_cursor"] == "Cart/Left"
    [second] = await got(lonely_api, "/catalogue", cursor="Cart/Left")
    assert (second["volume"], second["properties"]) == (1, {"sku": {"string": 1}})

    at = f"{V1}/events/catalogue/Cart%2FLeft"
    read = await lonely_api.get(at)
    changed = await lonely_api.patch(
        at, json={"server_only": True}, headers={"If-Match": read.headers["etag"]}
    )
    assert (await created(changed))["server_only"] is True
    lost = {"If-Match": read.headers["etag"]}
    refusal(await lonely_api.patch(at, json={"server_only": False}, headers=lost), 412)
    refusal(await lonely_api.patch(f"{V1}/events/catalogue/none", json={"server_only": True}), 404)


async def test_what_was_refused_says_why(lonely_api: AsyncClient, sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await put_aside(db)
        await put_aside(db, name="Other")

    assert [each["name"] for each in await got(lonely_api, "/refused")] == ["Other", "Broken"]
    [one] = await got(lonely_api, "/refused", name="Broken", since=NOON.isoformat())
    assert (one["stage"], one["pointer"], one["reason"]) == ("name", "/email", "It is known.")
    assert await got(lonely_api, "/refused", since=LATER.isoformat()) == []


async def test_what_was_put_aside_is_tried_again_under_a_new_id_and_only_once(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        id_ = await put_aside(db, properties={"a": None})
        taken = {"here": DEFAULT_WORKSPACE, "mine": f"s m-{id_}", "at": NOON}
        await db.execute(text("insert into seen values (:here, :mine, :at), (:here, 'm-0', :at)"), taken)

    again = f"{V1}/events/quarantine/{id_}/replay"
    new = (await created(await lonely_api.post(again)))["id"]
    refusal(await lonely_api.post(again), 409)
    refusal(await lonely_api.post(f"{V1}/events/quarantine/{DEFAULT_WORKSPACE}/replay"), 404)

    assert new != str(id_)
    async with sessions.engine() as db:
        [row] = (await db.execute(text("select * from inbox"))).all()
        assert await rows(db, "select message_id from seen") == ["m-0"]
    assert (str(row.id), row.name, row.properties, row.occurred_at) == (new, "Broken", {"a": None}, NOON)
    assert row.received_at > NOON
    [one] = await got(lonely_api, "/quarantine", replayed=True)
    assert one["replayed_at"] is not None
    assert await got(lonely_api, "/quarantine") == []


async def test_all_that_matches_is_tried_again_in_its_order(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        for n in range(3):
            change = {"key": f"o{n}", "refunded": "1"}
            await put_aside(db, "order change", None, properties=change, message_id=None)
        await put_aside(db)

    assert [each["name"] for each in await got(lonely_api, "/quarantine", kind="order change")] == [
        "o2",
        "o1",
        "o0",
    ]
    assert [each["name"] for each in await got(lonely_api, "/quarantine", name="Broken")] == ["Broken"]
    replay = f"{V1}/events/quarantine/replay"
    told = await created(await lonely_api.post(replay, json={"kind": "order change"}))
    assert told == {"replayed": 3, "more": False}
    assert (await created(await lonely_api.post(replay, json={"name": "nobody's"})))["replayed"] == 0
    async with sessions.engine() as db:
        assert await rows(db, "select properties ->> 'key' from inbox order by id") == ["o0", "o1", "o2"]


async def test_the_lag_tells_what_waits_and_since_when(lonely_api: AsyncClient, sessions: Sessions) -> None:
    assert await created(await lonely_api.get(f"{V1}/events/lag")) == {
        "waiting": 0,
        "exact": True,
        "oldest_at": None,
        "seconds_behind": 0.0,
    }
    rows_ = [
        Coming(DEFAULT_WORKSPACE, NOON + timedelta(hours=n), "track", NOON, {}, name="x") for n in (0, 1)
    ]
    async with sessions.engine() as db:
        await arrivals.put(db, rows_)

    lag = await created(await lonely_api.get(f"{V1}/events/lag"))

    assert (lag["waiting"], lag["oldest_at"]) == (2, "2026-03-01T12:00:00Z")
    assert lag["seconds_behind"] > 3600
