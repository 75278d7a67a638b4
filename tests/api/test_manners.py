"""How the API speaks, whatever it is asked about."""

import asyncio
import re
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from httpx2 import ASGITransport, AsyncClient
from sqlalchemy import update

from api.app import build
from api.front import Front
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.campaigns import Campaign
from models.segments import Segment
from models.workspaces import Workspace
from tests.api.conftest import SETTINGS
from tests.api.support import V1, a_segment, a_template, refusal


async def test_health_answers_without_a_key(strict_api: AsyncClient) -> None:
    response = await strict_api.get("/health", headers={"Authorization": ""})

    assert response.json() == {"status": "up"}


async def test_others_are_answered_while_the_description_is_written_for_the_first_time() -> None:
    transport = ASGITransport(app=Front(build(SETTINGS)))
    async with AsyncClient(transport=transport, base_url="http://campanile") as api:
        description = asyncio.create_task(api.get("/openapi.json"))
        for _ in range(50):
            await asyncio.sleep(0)
            assert (await api.get("/health")).is_success

        assert not description.done()
        assert (await description).json()["paths"]


async def test_ready_is_ready_when_everything_is_there(api: AsyncClient) -> None:
    response = await api.get("/ready")

    assert response.status_code == 200, response.text
    assert response.json()["status"] == "ready"


async def test_a_request_does_not_wait_long_for_a_database_that_is_away(stranded_api: AsyncClient) -> None:
    for path in ("/api/v1/users/me", "/api/v1/profiles"):
        assert "database" in refusal(await stranded_api.get(path), 503)["detail"]


async def test_ready_says_which_part_is_away_and_how_to_mend_it(lonely_api: AsyncClient) -> None:
    problem = refusal(await lonely_api.get("/ready"), 503)

    assert [error["pointer"] for error in problem["errors"]] == ["/temporal"]
    assert "TEMPORAL_ADDRESS" in problem["detail"]


@pytest.mark.parametrize("key", ["", "Bearer wrong", "Basic dTpw"])
async def test_nobody_gets_in_without_the_key(strict_api: AsyncClient, key: str) -> None:
    response = await strict_api.get(f"{V1}/segments", headers={"Authorization": key})

    refusal(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"


async def test_an_unknown_address_is_a_problem(strict_api: AsyncClient) -> None:
    assert "/docs" in refusal(await strict_api.get(f"{V1}/nowhere"), 404)["detail"]


async def test_a_wrong_method_is_a_problem_that_names_the_right_ones(strict_api: AsyncClient) -> None:
    response = await strict_api.put(f"{V1}/segments/{'0' * 32}", json={})

    refusal(response, 405)
    assert response.headers["allow"] == "DELETE, GET, PATCH"


@pytest.mark.parametrize(
    ("path", "sent", "pointer", "detail"),
    [
        ("workspace", {"currency": "Gold"}, "/currency", "Write a currency as three capitals such as EUR."),
        ("workspace", {"postal_address": ""}, "/postal_address", "This should have at least 1 character."),
    ],
)
async def test_what_the_framework_refuses_is_said_in_our_words(
    strict_api: AsyncClient, path: str, sent: dict[str, str], pointer: str, detail: str
) -> None:
    (error,) = refusal(await strict_api.patch(f"{V1}/{path}", json=sent), 422)["errors"]

    assert (error["pointer"], error["detail"]) == (pointer, detail)


STEPS = 'The "kind" of a step is send, wait, wait_for_event, branch or webhook.'


@pytest.mark.parametrize(
    ("steps", "pointer", "detail"),
    [
        ({"kind": "sms"}, "/definition/steps/a", STEPS),
        ({}, "/definition/steps/a", STEPS),
        ({"kind": "send", "template_id": "welcome"}, "/definition/steps/a/template_id", "This is no id; "),
    ],
)
async def test_a_wrong_kind_or_id_is_told_what_there_is(
    strict_api: AsyncClient, steps: dict[str, str], pointer: str, detail: str
) -> None:
    definition = {"trigger": {"kind": "api"}, "first": "a", "steps": {"a": steps}}

    problem = refusal(await strict_api.post(f"{V1}/flows", json={"name": "x", "definition": definition}), 422)

    (error,) = problem["errors"]
    assert error["pointer"] == pointer
    assert error["detail"].startswith(detail)


async def test_a_refusal_of_our_rules_names_the_field_too(strict_api: AsyncClient) -> None:
    rule = {"kind": "orders", "measure": "last", "op": "on", "value": "1998-01-01"}

    problem = refusal(await strict_api.post(f"{V1}/segments/estimate", json={"rule": rule}), 422)

    assert problem["detail"].startswith("rule.op: Write one of these: 'is', ")
    assert problem["detail"].endswith("'before', 'on or after'.")


async def test_the_front_page_leads_to_the_docs(strict_api: AsyncClient) -> None:
    assert (await strict_api.get("/")).headers["location"] == "/docs"


async def test_json_that_does_not_say_so_is_told_to(strict_api: AsyncClient) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    response = await strict_api.post(f"{V1}/segments", content='{"name": "x"}', headers=form)

    assert "Content-Type: application/json" in refusal(response, 422)["detail"]


async def test_a_form_s_field_at_fault_is_named(strict_api: AsyncClient) -> None:
    file = ("people.csv", b"email\n", "text/csv")
    response = await strict_api.post(f"{V1}/imports", data={"kind": "people"}, files={"file": file})

    problem = refusal(response, 422)

    assert problem["detail"] == "kind: This should be 'customers' or 'orders'."


async def test_a_request_id_comes_back_and_a_strange_one_is_replaced(strict_api: AsyncClient) -> None:
    kept = await strict_api.get("/health", headers={"X-Request-Id": "order-42"})
    replaced = await strict_api.get("/health", headers={"X-Request-Id": 'evil"\t{}'})

    assert kept.headers["x-request-id"] == "order-42"
    assert replaced.headers["x-request-id"] not in ("", 'evil"\t{}')


async def test_browsers_are_told_to_be_careful(strict_api: AsyncClient) -> None:
    headers = (await strict_api.get(f"{V1}/workspace")).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"


async def test_a_missing_field_is_pointed_at(strict_api: AsyncClient) -> None:
    problem = refusal(await strict_api.post(f"{V1}/segments", json={"rule": {"all": []}}), 422)

    assert problem["errors"] == [{"pointer": "/name", "in": "body", "detail": "This field is required."}]


async def test_a_field_that_nobody_knows_is_pointed_at(strict_api: AsyncClient) -> None:
    body = {"name": "x", "rule": {"all": []}, "colour": "red"}

    problem = refusal(await strict_api.post(f"{V1}/segments", json=body), 422)

    assert problem["errors"][0]["pointer"] == "/colour"


async def test_a_fault_deep_in_a_rule_is_pointed_at(strict_api: AsyncClient) -> None:
    rule = {"all": [{"not": {"any": [{"kind": "orders", "measure": "sum", "op": ">", "value": 1}]}}]}

    problem = refusal(await strict_api.post(f"{V1}/segments/estimate", json={"rule": rule}), 422)

    assert problem["errors"][0]["pointer"] == "/rule/all/0/not/any/0/measure"


async def test_a_fault_deep_in_a_flow_is_pointed_at(strict_api: AsyncClient) -> None:
    step = {
        "kind": "branch",
        "condition": {"not": {"not": {"kind": "message", "did": "sang", "step": "a"}}},
        "then": None,
    }
    definition = {"trigger": {"kind": "api"}, "first": "b", "steps": {"b": step}}

    problem = refusal(await strict_api.post(f"{V1}/flows", json={"name": "x", "definition": definition}), 422)

    assert problem["errors"][0]["pointer"] == "/definition/steps/b/condition/not/not/did"


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{", "JSON"),
        (b"", "body"),
        (b"[]", "object"),
        (b'{"name": "\xff"}', "UTF-8"),
        (b'{"name": "\\u0000", "rule": {"all": []}}', "stored"),
        (b'{"name": "\\ud800", "rule": {"all": []}}', "character"),
        (b'{"name": "deep", "rule": ' + b'{"not":' * 5000 + b"1" + b"}" * 5000 + b"}", "deep"),
    ],
)
async def test_what_is_no_body_is_refused_in_words(strict_api: AsyncClient, body: bytes, word: str) -> None:
    response = await strict_api.post(
        f"{V1}/segments", content=body, headers={"Content-Type": "application/json"}
    )

    assert word in refusal(response, 422)["detail"]


async def test_a_body_that_is_too_large_is_refused(strict_api: AsyncClient) -> None:
    body = {"name": "x", "subject": "x", "html": "x" * 2_500_000}

    refusal(await strict_api.post(f"{V1}/templates", json=body), 413)


@pytest.mark.parametrize("key", ["", "Bearer wrong", "Bearer sk_wrong", "Basic dTpw"])
@pytest.mark.parametrize("path", ["messages", "messages/batch", "templates"])
async def test_a_long_body_of_somebody_unknown_is_not_read(
    strict_api: AsyncClient, path: str, key: str
) -> None:
    read = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 100_000
            yield b" " * 100_000

    headers = {"Authorization": key, "Content-Type": "application/json", "Idempotency-Key": "k"}
    for announced in ({}, {"Content-Length": "1000000"}):
        refusal(await strict_api.post(f"{V1}/{path}", content=pieces(), headers=headers | announced), 401)
    assert read == 0


@pytest.mark.parametrize("cursor", ["x", "AAAA", "é", "AZ8cLKSwfB6NLzpLXG1-jw==", ""])
async def test_a_cursor_that_is_none_of_ours_is_refused_by_name(strict_api: AsyncClient, cursor: str) -> None:
    problem = refusal(await strict_api.get(f"{V1}/segments", params={"cursor": cursor}), 422)

    assert problem["errors"][0]["pointer"] == "/cursor"
    assert problem["errors"][0]["in"] == "query"


@pytest.mark.parametrize("limit", ["0", "501", "many"])
async def test_a_limit_out_of_bounds_is_refused_by_name(strict_api: AsyncClient, limit: str) -> None:
    problem = refusal(await strict_api.get(f"{V1}/segments", params={"limit": limit}), 422)

    assert problem["errors"][0]["pointer"] == "/limit"


@pytest.mark.parametrize(
    "path", ["campaigns?status=draft", "profiles?emial=a@b.example", "workspace?x=1", "segments?limit=1&x="]
)
async def test_a_parameter_that_nobody_knows_is_refused_by_name(strict_api: AsyncClient, path: str) -> None:
    name = re.findall(r"(\w+)=", path)[-1]

    problem = refusal(await strict_api.get(f"{V1}/{path}"), 422)

    assert name in problem["detail"]
    assert problem["errors"][0]["pointer"] == f"/{name}"
    assert problem["errors"][0]["in"] == "query"


async def test_a_list_is_walked_page_by_page_without_loss_or_repetition(api: AsyncClient) -> None:
    made = [await a_segment(api) for _ in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await api.get(f"{V1}/segments", params=params)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert seen == made[::-1]


@pytest.mark.parametrize(
    "path",
    ["segments", "templates", "campaigns", "flows", "profiles", "campaigns/{}/stats", "flows/{}/stats"],
)
async def test_what_nobody_has_is_not_found(strict_api: AsyncClient, path: str) -> None:
    nobody = "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"
    path = path.format(nobody) if "{}" in path else f"{path}/{nobody}"

    refusal(await strict_api.get(f"{V1}/{path}"), 404)


async def test_another_workspaces_things_are_not_there(api: AsyncClient, sessions: Sessions) -> None:
    other = uuid4()
    async with sessions(other) as db:
        db.add(Workspace(id=other, name="Other"))
        await db.flush()
        segment = Segment(workspace_id=other, name="Theirs", rule={"all": []})
        db.add(segment)

    refusal(await api.get(f"{V1}/segments/{segment.id}"), 404)
    assert (await api.get(f"{V1}/segments")).json()["items"] == []


async def test_every_operation_is_described_with_an_example(strict_api: AsyncClient) -> None:
    document = (await strict_api.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    lacking = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("description") or operation.get("summary"), path
            bodies = [operation["requestBody"]] if "requestBody" in operation else []
            bodies += [each for code, each in operation["responses"].items() if code.startswith("2")]
            for body in bodies:
                schema = body.get("content", {}).get("application/json", {}).get("schema", {})
                name = schema.get("$ref", "").rpartition("/")[2]
                if name.startswith("Page_"):
                    name = schemas[name]["properties"]["items"]["items"]["$ref"].rpartition("/")[2]
                if name and "example" not in schemas[name]:
                    lacking.append((method, path, name))
    assert lacking == []


@pytest.mark.parametrize(
    ("method", "path", "refusals"),
    [
        ("post", "/campaigns", {"404", "409", "413"}),
        ("get", "/campaigns", {"404"}),
        ("get", "/campaigns/{campaign_id}", {"404"}),
        ("post", "/campaigns/{campaign_id}/start", {"404", "409"}),
        ("patch", "/flows/{flow_id}", {"404", "409", "413"}),
        ("patch", "/templates/{template_id}", {"404", "413"}),
        ("post", "/imports", {"404", "409"}),
        ("post", "/auth/login", {"413"}),
        ("post", "/auth/verify-email", {"409", "413"}),
    ],
)
async def test_the_description_says_how_each_operation_refuses(
    strict_api: AsyncClient, method: str, path: str, refusals: set[str]
) -> None:
    document = (await strict_api.get("/openapi.json")).json()

    declared = set(document["paths"][f"{V1}{path}"][method]["responses"])

    assert declared & {"404", "409", "413"} == refusals
    assert {"401", "403", "422", "503"} <= declared


async def test_an_upload_is_described_with_an_example(strict_api: AsyncClient) -> None:
    document = (await strict_api.get("/openapi.json")).json()

    upload = document["paths"][f"{V1}/imports"]["post"]["requestBody"]["content"]["multipart/form-data"]

    assert upload["example"]["kind"] == "orders"
    assert "$ref" in upload["schema"]


async def test_the_docs_page_needs_no_other_server(strict_api: AsyncClient) -> None:
    page = await strict_api.get("/docs")

    assert page.status_code == 200
    wanted = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert len(wanted) == 3
    for asset in wanted:
        assert (await strict_api.get(asset)).status_code == 200, asset


@pytest.mark.parametrize(
    ("state", "says"),
    [("draft", "change or delete the campaign first"), ("completed", "is completed: it keeps")],
)
async def test_a_template_in_use_says_who_uses_it(
    api: AsyncClient, sessions: Sessions, state: str, says: str
) -> None:
    template = await a_template(api)
    segment = await a_segment(api)
    body = {"name": "Autumn", "segment_id": segment, "template_id": template}
    await api.post(f"{V1}/campaigns", json=body)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(update(Campaign).values(state=state))

    for path in (f"templates/{template}", f"segments/{segment}"):
        detail = refusal(await api.delete(f"{V1}/{path}"), 409)["detail"]
        assert 'The campaign "Autumn" uses this' in detail
        assert says in detail


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/auth/login", "/auth/login"),
        ("/users/me", "/users/me"),
        ("/campaigns", "/campaigns"),
        ("/campaigns?limit=2&cursor=a%2Fb", "/campaigns?limit=2&cursor=a%2Fb"),
        ("/campaigns/1/send", "/campaigns/1/send"),
        ("/flows/a%20b/%2F", "/flows/a%20b/%2F"),
        ("/flows//evil.example", "/flows//evil.example"),
        ("/orders/batch", "/orders/batch"),
        ("/customers", "/profiles"),
        ("/customers/a%2Fb/messages?limit=2", "/profiles/a%2Fb/messages?limit=2"),
        ("/audience-segment/1", "/segments/1"),
        ("/audience-segments", "/segments"),
        ("/audience-segments//evil.example", "/segments//evil.example"),
    ],
)
async def test_the_short_paths_of_older_systems_lead_to_their_place(
    strict_api: AsyncClient, method: str, path: str, place: str
) -> None:
    answer = await strict_api.request(method, path)

    assert answer.status_code == 308
    assert answer.headers["location"] == f"{V1}{place}"


async def test_whoever_follows_a_short_path_is_answered(api: AsyncClient) -> None:
    made = await api.post("/flows", json={"name": ""}, follow_redirects=True)

    assert refusal(made, 422)["errors"][0]["pointer"] == "/name"
    assert (await api.get("/campaigns", follow_redirects=True)).json()["items"] == []


async def test_other_paths_stay_unknown(strict_api: AsyncClient) -> None:
    for path in ("/users", "/users/you", "/segments"):
        refusal(await strict_api.get(path), 404)
