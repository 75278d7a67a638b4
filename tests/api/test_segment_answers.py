"""What one asks about segments over HTTP: how many, who, since when, what is in common, and why."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from httpx2 import AsyncClient
from sqlalchemy import text

from domain.profiles import SuppressionReason
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.profiles import Consent, Identity
from models.queries import profiles
from models.segments import SegmentDay
from tests.api.support import EVERYBODY, NOBODY, V1, a_profile, a_segment, created, refusal
from tests.api.test_segments import AT, NOTHING, PLAN, made, put_in

HERE: dict[str, Any] = {"workspace_id": DEFAULT_WORKSPACE}


async def estimate(api: AsyncClient, rule: dict[str, Any]) -> dict[str, Any]:
    return await created(await api.post(f"{AT}/estimate", json={"rule": rule}))


async def a_phone(sessions: Sessions, who: UUID, number: str, purpose: str, state: str = "granted") -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        db.add(Identity(**HERE, kind="phone", value=number, profile_id=who))
        said = {"state": state, "source": "test", "at": datetime.now(UTC)}
        db.add(Consent(**HERE, profile_id=who, purpose=purpose, **said))


async def test_an_estimate_counts_shows_some_and_says_who_can_be_reached(
    api: AsyncClient, sessions: Sessions
) -> None:
    ada = await a_profile(sessions, plan="pro")
    bob = await a_profile(sessions, "bob@example.com", plan="pro")
    await a_profile(sessions, "eve@example.com", plan="free")
    await a_phone(sessions, ada, "+4930123456", "sms")
    await a_phone(sessions, bob, "+4930123457", "sms", "denied")
    async with sessions(DEFAULT_WORKSPACE) as db:
        now = datetime.now(UTC)
        await profiles.suppress(db, "email", "bob@example.com", SuppressionReason.COMPLAINED, "test", now)

    found = await estimate(api, PLAN)

    assert (found["count"], found["exact"], found["error"]) == (2, True, 0)
    assert found["sentence"] == 'plan is "pro"'
    names = {each["profile_id"]: each["email"] for each in found["members"]}
    assert names == {str(ada): "ada@example.com", str(bob): "bob@example.com"}
    exactly = {"exact": True, "error": 0.0}
    assert found["reach"] == {
        "email": {"count": 1} | exactly,
        "sms": {"count": 1} | exactly,
        "whatsapp": {"count": 0} | exactly,
    }


async def test_an_estimate_of_nobody_is_nobody(api: AsyncClient) -> None:
    found = await estimate(api, NOBODY)

    assert (found["count"], found["exact"], found["members"]) == (0, True, [])
    assert {each["count"] for each in found["reach"].values()} == {0}


async def test_an_estimate_has_the_rules_of_the_segments_that_it_names(
    api: AsyncClient, sessions: Sessions
) -> None:
    await a_profile(sessions, plan="pro")
    await a_profile(sessions, "bob@example.com")
    pros = (await made(api, PLAN))["id"]

    assert (await estimate(api, {"not": {"kind": "segment", "segment_id": pros}}))["count"] == 1


async def test_members_come_page_by_page_and_are_found_by_how_a_name_begins(
    api: AsyncClient, sessions: Sessions
) -> None:
    people = [await a_profile(sessions, f"{name}@example.com") for name in ("ada", "adam", "bob")]
    outside = await a_profile(sessions, "adele@example.com")
    its_id = await a_segment(api)
    await put_in(sessions, its_id, *people)
    at = f"{AT}/{its_id}/members"

    first = (await api.get(at, params={"limit": 2})).json()
    rest = (await api.get(at, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    searched = (await api.get(at, params={"q": "Ada"})).json()

    everybody = [each["profile_id"] for each in first["items"] + rest["items"]]
    assert everybody == [str(each) for each in reversed(people)]
    assert str(outside) not in everybody
    assert rest["next_cursor"] is None
    assert [each["email"] for each in searched["items"]] == ["adam@example.com", "ada@example.com"]
    refusal(await api.get(f"{AT}/{NOTHING}/members"), 404)


async def test_a_history_has_each_day_also_those_on_which_nothing_happened(
    api: AsyncClient, sessions: Sessions
) -> None:
    its_id = await a_segment(api)
    async with sessions(DEFAULT_WORKSPACE) as db:
        for day, entered, left, size in ((3, 5, 0, 5), (5, 2, 1, 6)):
            it = {"segment_id": UUID(its_id), "day": date(2026, 1, day)}
            db.add(SegmentDay(**HERE, **it, entered=entered, left=left, size=size))

    whole = await api.get(f"{AT}/{its_id}/history", params={"from": "2026-01-02", "to": "2026-01-06"})
    part = await api.get(f"{AT}/{its_id}/history", params={"from": "2026-01-04", "to": "2026-01-04"})

    sizes = [(each["day"][-2:], each["size"], each["entered"], each["left"]) for each in whole.json()["days"]]
    assert sizes == [("02", None, 0, 0), ("03", 5, 5, 0), ("04", 5, 0, 0), ("05", 6, 2, 1), ("06", 6, 0, 0)]
    assert part.json()["days"] == [{"day": "2026-01-04", "size": 5, "entered": 0, "left": 0}]


async def test_a_history_is_of_the_last_thirty_days_in_the_workspaces_zone(api: AsyncClient) -> None:
    its_id = await a_segment(api)
    days = (await created(await api.get(f"{AT}/{its_id}/history")))["days"]

    assert len(days) == 30
    today = datetime.now(UTC).date()
    assert abs(date.fromisoformat(days[-1]["day"]) - today) <= timedelta(days=1)
    for wrong in (
        {"from": "2026-01-02", "to": "2026-01-01"},
        {"from": "2020-01-01", "to": "2026-01-01"},
        {"from": "9999-12-31"},
    ):
        problem = refusal(await api.get(f"{AT}/{its_id}/history", params=wrong), 422)
        assert problem["errors"][0]["pointer"] == "/from"
    assert (await api.get(f"{AT}/{its_id}/history", params={"to": "0001-01-01"})).is_success


async def test_what_segments_have_in_common_is_counted(api: AsyncClient, sessions: Sessions) -> None:
    a, b, c, d = [await a_profile(sessions, f"{name}@example.com") for name in "abcd"]
    ids = [await a_segment(api) for _ in range(3)]
    for its_id, people in zip(ids, ([a, b, c], [b, c, d], [c]), strict=True):
        await put_in(sessions, its_id, *people)

    found = await created(await api.post(f"{AT}/overlap", json={"segment_ids": ids}))

    assert [each["count"] for each in found["segments"]] == [3, 3, 1]
    pairs = {tuple(each["segment_ids"]): each["count"] for each in found["pairs"]}
    assert pairs == {(ids[0], ids[1]): 2, (ids[0], ids[2]): 1, (ids[1], ids[2]): 1}
    assert (found["all"], found["any"]) == (1, 4)


async def test_only_segments_whose_members_are_known_are_compared(
    api: AsyncClient, sessions: Sessions
) -> None:
    known, new = await a_segment(api), await a_segment(api)
    await put_in(sessions, known)

    async def pointer(status: int, *ids: str) -> str:
        problem = refusal(await api.post(f"{AT}/overlap", json={"segment_ids": ids}), status)
        return str(problem["errors"][0]["pointer"])

    assert await pointer(409, known, new) == "/segment_ids/1"
    assert await pointer(422, NOTHING, known) == "/segment_ids/0"
    assert await pointer(422, known, known) == "/segment_ids/1"
    assert await pointer(422, known) == "/segment_ids"


async def test_why_somebody_is_in_a_segment_is_told_condition_by_condition(
    api: AsyncClient, sessions: Sessions
) -> None:
    ada = await a_profile(sessions, plan="pro")
    bought = {"kind": "orders", "measure": "count", "op": ">=", "value": 1}
    its_id = (await made(api, {"all": [PLAN, {"not": bought}]}))["id"]
    await put_in(sessions, its_id, ada)
    ask = {"profile": "ada@example.com"}

    before = await created(await api.get(f"{AT}/{its_id}/explain", params=ask))
    order = {"customer": {"email": "ada@example.com"}, "total": "12.00", "id": "o1"}
    async with sessions(DEFAULT_WORKSPACE) as db:
        row = """
            insert into orders
                (workspace_id, id, key, profile_id, ordered_at, quantity, total, currency, source)
            values (:workspace, uuidv7(), :key, :who, now(), 1, 12, 'USD', 'test')
        """
        await db.execute(text(row), {"workspace": DEFAULT_WORKSPACE, "key": order["id"], "who": ada})
    after = await created(await api.get(f"{AT}/{its_id}/explain", params=ask))

    assert before["profile_id"] == str(ada)
    assert (before["holds"], before["member"], before["cut"]) == (True, True, False)
    assert [each["holds"] for each in before["why"]["parts"]] == [True, True]
    assert "pro" in before["why"]["parts"][0]["found"]
    assert (after["holds"], after["member"]) == (False, True)  # The pump has not seen it yet.
    assert [each["holds"] for each in after["why"]["parts"]] == [True, False]
    refusal(await api.get(f"{AT}/{its_id}/explain", params={"profile": "nobody@example.com"}), 404)


async def test_another_segment_is_explained_by_its_own_rule(api: AsyncClient, sessions: Sessions) -> None:
    await a_profile(sessions, plan="pro")
    pros = (await made(api, PLAN, "Pros"))["id"]
    others = (await made(api, {"not": {"kind": "segment", "segment_id": pros}}))["id"]

    ask = {"profile": "ada@example.com"}
    found = await created(await api.get(f"{AT}/{others}/explain", params=ask))

    assert not found["holds"]
    [named] = found["why"]["parts"]
    assert "Pros" in named["sentence"]
    assert [each["holds"] for each in named["parts"]] == [True]


@pytest.mark.parametrize("path", ["schema", "presets"])
async def test_what_looks_like_a_segments_address_is_none(api: AsyncClient, path: str) -> None:
    assert (await api.get(f"{AT}/{path}")).is_success


async def test_the_schema_tells_a_builder_what_there_is_to_ask(api: AsyncClient, sessions: Sessions) -> None:
    for nth, plan in enumerate(["pro", "pro", "pro", "free", "free", "only mine"]):
        body = {"user_id": f"u{nth}", "attributes": {"plan": plan, "likes": ["jazz", f"{nth}"]}}
        await created(await api.post(f"{V1}/profiles", json=body))
    news = (await created(await api.post(f"{V1}/lists", json={"name": "News"})))["id"]
    [who] = [(await api.get(f"{V1}/profiles")).json()["items"][0]["id"]]
    for tag in ("vip", "early"):
        assert (await api.put(f"{V1}/profiles/{who}/tags/{tag}")).is_success

    found = await created(await api.get(f"{AT}/schema"))

    kinds = {each["kind"]: each for each in found["kinds"]}
    fields = {each["name"]: each for each in kinds["attribute"]["fields"]}
    assert {"is", "starts with", "anniversary in"} <= {*fields["op"]["choices"]}
    assert fields["name"] | {"type": "text", "required": True, "many": False} == fields["name"]
    assert fields["value"]["type"] == "value"
    of_events = {each["name"]: (each["type"], each["many"]) for each in kinds["event"]["fields"]}
    assert of_events["where"] == ("property", True)
    assert of_events["window"] == ("window", False)
    assert of_events["property"] == ("text", False)
    assert "includes" in fields["op"]["choices"]
    shown = {
        (each["kind"], field["name"]): field
        for each in (*found["kinds"], *found["parts"])
        for field in each["fields"]
    }
    assert "includes" not in shown["identity", "op"]["choices"]
    assert (shown["suppressed", "reason"]["type"], len(shown["suppressed", "reason"]["choices"])) == (
        "choice",
        5,
    )
    assert shown["known", "value"]["type"] == shown["window", "after"]["type"] == "moment"
    assert shown["then", "within"]["type"] == "duration"
    for each in (*found["kinds"], *found["parts"]):
        assert each["about"], each
        assert "domain." not in each["about"]
    ours = [
        each
        for each in found["events"]
        if each["name"] in ("order placed", "segment entered", "segment left")
    ]
    crossing = {"segment_id": ["string"], "segment": ["string"]}
    assert [each["properties"] for each in ours] == [{}, crossing, crossing]
    assert {each["kind"] for each in found["kinds"] if each["only_in_flows"]} == {"message"}
    assert {each["kind"] for each in found["parts"]} == {"window", "property", "then"}
    values = {each["name"]: each["values"] for each in found["attributes"]}
    assert values == {"plan": ["pro", "free"], "likes": ["jazz"]}
    assert found["lists"] == [{"id": news, "name": "News"}]
    assert found["tags"] == ["early", "vip"]
    assert found["currencies"] == ["USD"]


async def test_ready_segments_are_made_once(api: AsyncClient) -> None:
    ready = (await api.get(f"{AT}/presets")).json()["items"]
    assert {"New customers", "Engaged"} <= {each["name"] for each in ready}
    assert {each["segment_id"] for each in ready} == {None}

    some = await created(await api.post(f"{AT}/presets", json={"names": ["Engaged", "Engaged"]}))
    rest = await created(await api.post(f"{AT}/presets", json={}))
    none = await created(await api.post(f"{AT}/presets", json={}))

    assert [each["name"] for each in some["items"]] == ["Engaged"]
    assert len(rest["items"]) == len(ready) - 1
    assert none["items"] == []
    assert all(each["segment_id"] for each in (await api.get(f"{AT}/presets")).json()["items"])
    problem = refusal(await api.post(f"{AT}/presets", json={"names": ["Engaged", "x"]}), 422)
    assert problem["errors"][0]["pointer"] == "/names/1"


async def test_with_buyers_there_are_groups_by_what_they_bought(api: AsyncClient, sessions: Sessions) -> None:
    now = datetime.now(UTC)
    for nth in range(20):
        who = await a_profile(sessions, f"{nth}@example.com")
        async with sessions(DEFAULT_WORKSPACE) as db:
            row = """
                insert into order_rollups
                    (workspace_id, profile_id, currency, total, count, first_at, last_at, largest)
                values (:workspace, :who, 'USD', :total, :count, :at, :at, :total)
            """
            bought = {"total": 10 * (nth + 1), "count": nth // 2 + 1, "at": now - timedelta(days=9 * nth)}
            await db.execute(text(row), {"workspace": DEFAULT_WORKSPACE, "who": who} | bought)

    ready = {each["name"]: each for each in (await api.get(f"{AT}/presets")).json()["items"]}

    assert "RFM: champions" in ready
    spenders = ready["RFM: big spenders"]["rule"]
    assert (spenders["measure"], spenders["op"], float(spenders["value"])) == ("total", ">", 160)
    assert (await estimate(api, spenders))["count"] == 4
    assert (await estimate(api, EVERYBODY))["count"] == 20
