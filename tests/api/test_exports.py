"""Files of people and events: all of them, in both formats, a little at a time, and of nobody else's."""

import csv
import io
from datetime import timedelta
from typing import Any
from uuid import uuid4

from httpx2 import AsyncClient
from pyarrow import parquet
from sqlalchemy import text

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.profiles import Identity, ProfileTag
from models.queries import exports
from tests.api.conftest import the_app
from tests.api.support import V1, a_segment, created, refusal
from tests.people import HERE, NOON, a_person, an_event, rows


async def people(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        ada = await a_person(db, "ada@shop.example", name='=HYPERLINK("x")', plan="gold", seats=3)
        db.add(Identity(**HERE, kind="user_id", value="c1", profile_id=ada))
        db.add(ProfileTag(**HERE, profile_id=ada, tag="vip", at=NOON))
        bob = await a_person(db, "bob@shop.example", {"email": "denied"})
        gone = await a_person(db, "gone@shop.example")
        merged = text("update profiles set merged_into = :ada where id = :gone")
        await db.execute(merged, {"ada": ada, "gone": gone})
        await an_event(db, ada, at=NOON, properties={"sku": "LP", "n": 1})
        await an_event(db, bob, "Cart Left", NOON + timedelta(days=40), message_id="-m", historical=True)


async def as_csv(api: AsyncClient, path: str, **asked: Any) -> list[dict[str, str]]:
    answer = await api.get(f"{V1}/exports{path}", params=asked)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8", answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


async def as_parquet(api: AsyncClient, path: str, **asked: Any) -> list[dict[str, Any]]:
    answer = await api.get(f"{V1}/exports{path}", params={"format": "parquet", **asked})
    assert answer.headers["content-type"] == "application/vnd.apache.parquet", answer.text
    found: list[dict[str, Any]] = parquet.read_table(io.BytesIO(answer.content)).to_pylist()
    return found


async def test_people_are_exported_as_csv_that_no_spreadsheet_executes(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    await people(sessions)

    ada, bob = await as_csv(lonely_api, "/profiles", attribute=["name", "plan"])

    assert (ada["customer_id"], ada["email"], ada["tags"]) == ("c1", "ada@shop.example", "vip")
    assert (ada["consent_email"], ada["consent_tracking"], ada["consent_sms"]) == ("granted", "granted", "")
    assert (ada["name"], ada["plan"]) == ('\'=HYPERLINK("x")', "gold")
    assert ada["attributes"].startswith('{"')
    assert ada["created_at"].endswith("Z")
    assert (bob["customer_id"], bob["consent_email"], bob["name"]) == ("", "denied", "")


async def test_parquet_has_the_same_with_types(lonely_api: AsyncClient, sessions: Sessions) -> None:
    await people(sessions)

    ada, bob = await as_parquet(lonely_api, "/profiles", attribute="seats")
    assert (ada["email"], ada["seats"], ada["time_zone"]) == ("ada@shop.example", "3", None)
    assert ada["created_at"].tzinfo is not None
    assert (bob["customer_id"], bob["seats"]) == (None, None)

    first, second = await as_parquet(lonely_api, "/events")
    assert (first["name"], first["received_at"], first["historical"]) == ("Product Viewed", NOON, False)
    assert first["properties"] in ('{"sku":"LP","n":1}', '{"n":1,"sku":"LP"}')
    assert (second["historical"], second["message_id"], second["context"]) == (True, "-m", None)


async def test_events_are_exported_by_name_and_time(lonely_api: AsyncClient, sessions: Sessions) -> None:
    await people(sessions)

    named = await as_csv(lonely_api, "/events", name="Cart Left")
    assert [(each["message_id"], each["historical"]) for each in named] == [("'-m", "true")]
    assert len(await as_csv(lonely_api, "/events", **{"from": NOON.isoformat()})) == 2
    assert [each["name"] for each in await as_csv(lonely_api, "/events", to="2026-04-01")] == [
        "Product Viewed"
    ]


async def test_a_segment_is_exported_as_it_is_now_and_noted(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    await people(sessions)
    gold = {"kind": "attribute", "name": "plan", "op": "is", "value": "gold"}
    segment = await a_segment(lonely_api, gold)

    assert [each["email"] for each in await as_csv(lonely_api, f"/segments/{segment}")] == [
        "ada@shop.example"
    ]

    refusal(await lonely_api.get(f"{V1}/exports/segments/{uuid4()}"), 404)
    log = await created(await lonely_api.get(f"{V1}/audit-log", params={"object_id": segment}))
    assert log["items"][0]["action"] == "exported"


async def test_a_column_that_cannot_be_is_refused(strict_api: AsyncClient) -> None:
    for name in ("email", "", "x" * 256):
        answer = await strict_api.get(f"{V1}/exports/profiles", params={"attribute": name})
        assert refusal(answer, 422)["errors"][0]["pointer"] == "/attribute"
    refusal(await strict_api.get(f"{V1}/exports/profiles", params={"format": "xlsx"}), 422)


async def test_nobody_in_another_workspace_is_exported(sessions: Sessions) -> None:
    await people(sessions)
    other = uuid4()
    async with sessions.engine() as db:
        await db.execute(text("insert into workspaces (id, name) values (:id, 'Another')"), {"id": other})
    for asked in (exports.people(), exports.events(None, None, None)):
        async with sessions(other) as db:
            assert [part async for part in exports.read(db, asked)] == []


async def test_many_come_in_pieces_of_one_snapshot(
    lonely_api: AsyncClient, sessions: Sessions, monkeypatch: Any
) -> None:
    monkeypatch.setattr("api.exporting.GROUP", 3_000)
    async with sessions(DEFAULT_WORKSPACE) as db:
        crowd = "insert into profiles (workspace_id) select :here from generate_series(1, 7000)"
        await db.execute(text(crowd), {"here": DEFAULT_WORKSPACE})
        count = await rows(db, "select count(*) from profiles")

    answer = await lonely_api.get(f"{V1}/exports/profiles", params={"format": "parquet"})
    file = parquet.ParquetFile(io.BytesIO(answer.content))
    assert (file.metadata.num_rows, file.metadata.num_row_groups) == (count[0], 2)
    assert len(await as_csv(lonely_api, "/profiles")) == count[0]


async def test_too_many_at_once_are_asked_to_wait(lonely_api: AsyncClient) -> None:
    stack = the_app().state.stack
    for _ in range(3):
        await stack.exports.acquire()
    problem = await lonely_api.get(f"{V1}/exports/profiles")
    assert refusal(problem, 429)["status"] == 429
    assert problem.headers["retry-after"] == "30"
