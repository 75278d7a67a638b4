"""Files by HTTP: they are kept before anybody answers, and the report says what was refused."""

from typing import Any
from uuid import UUID

from httpx2 import AsyncClient
from temporalio.client import Client

from activities.imports import ImportRun
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.lists import List
from models.queries import imports
from tests.api.people import a_member, an_owner
from tests.api.support import V1, created, refusal
from tests.importing import asked, loaded
from tests.support import GivenClock

BAD = "customer_id,email\n1,ada@example.com\n=2,ada@example.com\n3,@home\n"


async def sent(api: AsyncClient, data: str | bytes, **form: Any) -> dict[str, Any]:
    files = {"file": (form.pop("name", "people.csv"), data, "text/csv")}
    return await created(await api.post(f"{V1}/imports", data={"kind": "customers", **form}, files=files))


async def read(sessions: Sessions, begun: dict[str, Any]) -> None:
    """What the worker would do."""
    await loaded(sessions, ImportRun(DEFAULT_WORKSPACE, UUID(begun["id"])))


async def test_an_upload_is_kept_whole_and_its_workflow_started(
    api: AsyncClient, sessions: Sessions, temporal: Client
) -> None:
    data = b"customer_id\n" + b"1\n" * 600_000
    begun = await sent(api, data, name="C:\\Sales\\All people, März.csv")

    assert (begun["file_name"], begun["state"]) == ("All people, März.csv", "uploaded")
    assert begun["bytes_total"] == len(data)
    chunks = await asked(sessions, "select octet_length(data) from import_chunks order by number")
    assert [size for (size,) in chunks] == [imports.CHUNK, len(data) - imports.CHUNK]
    workflow = temporal.get_workflow_handle(f"import/{begun['id']}/all-people-marz-csv")
    assert (await workflow.describe()).status is not None
    await workflow.terminate()


async def test_an_upload_is_kept_while_temporal_is_away(lonely_api: AsyncClient, sessions: Sessions) -> None:
    begun = await sent(lonely_api, BAD)

    async with sessions.engine() as db:
        found = await imports.forgotten(db, GivenClock().now().replace(year=9000))
    assert [str(row.id) for row in found] == [begun["id"]]


async def test_an_upload_is_in_the_audit_log_with_who_sent_it(lonely_api: AsyncClient) -> None:
    begun = await sent(lonely_api, BAD)

    logged = await created(await lonely_api.get(f"{V1}/audit-log", params={"object_id": begun["id"]}))

    assert {(line["object_kind"], line["actor"]["kind"]) for line in logged["items"]} == {("import", "key")}
    assert logged["items"][-1]["action"] == "create"


async def test_an_import_tells_how_far_it_is(lonely_api: AsyncClient, sessions: Sessions) -> None:
    begun = await sent(lonely_api, BAD)
    await read(sessions, begun)

    done = await created(await lonely_api.get(f"{V1}/imports/{begun['id']}"))

    told = {
        name: done[name] for name in ("state", "rows", "imported", "unchanged", "rejected", "reason", "live")
    }
    assert told == {
        "state": "completed",
        "rows": 3,
        "imported": 1,
        "unchanged": 0,
        "rejected": 2,
        "reason": None,
        "live": False,
    }
    assert done["bytes_done"] == done["bytes_total"] == len(BAD)
    [listed] = (await created(await lonely_api.get(f"{V1}/imports")))["items"]
    assert listed == done


async def test_the_report_comes_in_pages_and_as_csv_that_no_spreadsheet_executes(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    begun = await sent(lonely_api, "customer_id,=email\n1,\n")
    await read(sessions, begun)
    begun = await sent(lonely_api, BAD)
    await read(sessions, begun)
    errors = f"{V1}/imports/{begun['id']}/errors"

    first = await created(await lonely_api.get(errors, params={"limit": 1}))
    [row] = first["items"]
    assert (row["line"], row["column"]) == (3, "email")
    assert "already has the address" in row["reason"]
    rest = await created(await lonely_api.get(errors, params={"limit": 1, "cursor": first["next_cursor"]}))
    assert [row["line"] for row in rest["items"]] == [4]

    for given, accept in (({"format": "csv"}, "*/*"), ({}, "text/csv")):
        response = await lonely_api.get(errors, params=given, headers={"Accept": accept})
        assert response.headers["content-type"].startswith("text/csv")
        lines = response.text.splitlines()
        assert lines[0] == "line,column,reason"
        assert [line.partition(",")[0] for line in lines[1:]] == ["3", "4"]


async def test_a_column_with_a_formula_for_a_name_is_harmless_in_the_report(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    begun = await sent(lonely_api, b"customer_id,=1+1\n1,\xff\n")
    await read(sessions, begun)

    report = (await lonely_api.get(f"{V1}/imports/{begun['id']}/errors?format=csv")).text

    assert "2,'=1+1," in report


async def test_what_is_no_import_is_refused(strict_api: AsyncClient) -> None:
    files = {"file": ("a.csv", b"customer_id\n", "text/csv")}
    kind = refusal(await strict_api.post(f"{V1}/imports", data={"kind": "people"}, files=files), 422)
    assert "'customers' or 'orders'" in kind["detail"]
    live = {"kind": "customers", "live": "true"}
    told = refusal(await strict_api.post(f"{V1}/imports", data=live, files=files), 422)["detail"]
    assert "Only orders can be live" in told
    refusal(await strict_api.post(f"{V1}/imports", data={"kind": "orders"}), 422)
    refusal(await strict_api.get(f"{V1}/imports/{DEFAULT_WORKSPACE}"), 404)
    refusal(await strict_api.get(f"{V1}/imports/{DEFAULT_WORKSPACE}/errors"), 404)


async def test_a_file_is_read_as_its_name_and_the_form_say(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        made = List(workspace_id=DEFAULT_WORKSPACE, name="Newsletter")
        db.add(made)
        await db.flush()
    mapping = '{"Nummer": "customer_id", "Notiz": null}'
    named = {"name": "people.jsonl", "mapping": mapping, "list_id": str(made.id)}
    begun = await sent(lonely_api, '{"Nummer": "1", "Notiz": "x"}\n', **named)
    await read(sessions, begun)

    assert (begun["format"], begun["mapping"]) == ("jsonl", {"Nummer": "customer_id", "Notiz": None})
    assert (begun["list_id"], begun["dry_run"]) == (str(made.id), False)
    done = await created(await lonely_api.get(f"{V1}/imports/{begun['id']}"))
    assert (done["state"], done["imported"]) == ("completed", 1)
    assert await asked(sessions, "select state from list_members") == [("member",)]

    trial = await sent(lonely_api, "customer_id\n2\n", name="people.jsonl", format="csv", dry_run="true")
    await read(sessions, trial)
    assert (trial["format"], trial["dry_run"]) == ("csv", True)
    assert len(await asked(sessions, "select 1 from profiles")) == 1


async def test_wishes_that_make_no_sense_are_refused_at_once(strict_api: AsyncClient) -> None:
    files = {"file": ("a.csv", b"customer_id\n", "text/csv")}
    for wish, pointer in (
        ({"mapping": "[]"}, "/mapping"),
        ({"mapping": '{"a": 1}'}, "/mapping"),
        ({"mapping": '{"a": " "}'}, "/mapping"),
        ({"list_id": str(DEFAULT_WORKSPACE)}, "/list_id"),
        ({"format": "xlsx"}, "/format"),
    ):
        answer = await strict_api.post(f"{V1}/imports", data={"kind": "customers", **wish}, files=files)
        assert refusal(answer, 422)["errors"][0]["pointer"] == pointer


async def test_a_form_that_cannot_be_taken_apart_breaks_a_rule(api: AsyncClient) -> None:
    broken = b'--b\r\nContent-Disposition: form-data; name="a"\rb\r\n\r\nx\r\n--b--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = await api.post(f"{V1}/imports", content=broken, headers=headers)
    assert "can't be read" in refusal(answer, 422)["detail"]


async def test_a_file_that_is_too_large_or_of_nobody_who_may_is_not_read(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    owner = await an_owner(nobody, sessions)
    viewer = await a_member(owner, sessions, "grace@example.com", "viewer")
    broken = {"Content-Type": "multipart/form-data; boundary=b"}
    huge = {"Content-Length": "2000000001"}

    for asker, headers, status in ((owner, broken, 422), (viewer, broken, 403), (owner, huge, 413)):
        sent = asker.headers | headers
        refusal(await nobody.post(f"{V1}/imports", content=b"what is no form", headers=sent), status)
