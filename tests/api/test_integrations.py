"""n8n, looked after: what it is asked, what is shown of that, and what never is."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx2 import AsyncClient
from sqlalchemy import text

from domain.integrations import title
from domain.workspaces import DEFAULT_WORKSPACE
from lab.http_server import Answer
from lab.n8n import N8nLab
from models.base import Sessions
from models.webhooks import Webhook, WebhookDelivery
from tests.api.people import an_owner
from tests.api.support import V1, created, refusal
from tests.people import NOON

AT = f"{V1}/integrations/n8n"


@pytest.fixture
async def n8n() -> AsyncIterator[N8nLab]:
    async with N8nLab() as lab:
        yield lab


async def put(api: AsyncClient, n8n: N8nLab, **more: Any) -> dict[str, Any]:
    return await created(await api.put(AT, json={"url": n8n.url, "api_key": n8n.api_key, **more}))


async def test_its_version_our_workflows_and_what_failed_are_shown(
    lonely_api: AsyncClient, n8n: N8nLab
) -> None:
    n8n.publish("campanile-lead-capture", title("lead-capture"))
    n8n.publish("Kx71", title("daily-campaigns"))  # Imported by hand: another id.
    n8n.publish("campanile-weekly-report", title("weekly-report"), active=False)
    n8n.publish("Kx72", title("enrich-in-flow"), archived=True)
    n8n.publish("Kx73", "Campanile and others")
    n8n.fail("7", "campanile-lead-capture")
    n8n.fail("8", "Kx99")
    await put(lonely_api, n8n)

    shown = await created(await lonely_api.get(AT))

    assert (shown["reachable"], shown["reason"], shown["api_reason"]) == (True, None, None)
    assert (shown["version"], shown["url"], shown["has_api_key"]) == ("2.30.8", n8n.url, True)
    assert {each["name"]: each["state"] for each in shown["workflows"]} == {
        "daily-campaigns": "published",
        "enrich-in-flow": "missing",
        "job-failure-alert": "missing",
        "lead-capture": "published",
        "weekly-report": "unpublished",
    }
    last, first = shown["failed_executions"]
    assert (last["workflow"], first["workflow"]) == (None, "lead-capture")
    assert first["url"] == f"{n8n.url}/workflow/campanile-lead-capture/executions/7"


async def test_without_a_key_of_its_api_it_is_still_seen_whether_it_answers(
    lonely_api: AsyncClient, n8n: N8nLab
) -> None:
    shown = await created(await lonely_api.put(AT, json={"url": f"{n8n.url}/"}))

    assert (shown["reachable"], shown["version"], shown["url"]) == (True, "2.30.8", n8n.url)
    assert (shown["workflows"], shown["failed_executions"], shown["has_api_key"]) == (None, None, False)
    assert "PUT one as `api_key`" in shown["api_reason"]
    assert n8n.keys_seen == []


OTHERWISE: list[tuple[str, Answer, bool, str]] = [
    ("/healthz", Answer(200, b"<html>"), False, "no n8n"),
    ("/healthz", Answer(302, b"", {"Location": "/x"}), False, "no n8n"),
    ("/api/v1/workflows", Answer(500, b"secret words"), True, "answered 500"),
    ("/api/v1/workflows", Answer(200, b"[1]"), True, "answered 200"),
    ("/api/v1/executions", Answer(403, b"{}"), True, "does not take this key"),
    ("/api/v1/workflows", Answer(200, b"x" * 1_100_000), True, "more than"),
    ("/metrics", Answer(404, b""), True, ""),
    # What is sent by whoever means harm.
    ("/metrics", Answer(200, b"x", {"Content-Type": "text/plain; charset=zlib"}), True, ""),
    ("/healthz", Answer(200, b"[" * 900_000), False, "no n8n"),
    ("/api/v1/workflows", Answer(200, b'{"data":' + b"[" * 900_000), True, "answered 200"),
    ("/api/v1/executions", Answer(200, b'{"data": [{"id": "\\ud800\\u0000"}]}'), True, ""),
]


async def test_what_answers_otherwise_is_said_in_a_sentence(lonely_api: AsyncClient, n8n: N8nLab) -> None:
    await put(lonely_api, n8n)

    for path, answer, reachable, said in OTHERWISE:
        n8n.overrides = {path: answer}
        shown = await created(await lonely_api.get(AT))

        assert shown["reachable"] is reachable, path
        assert said in (shown["reason"] or shown["api_reason"] or ""), path
        assert "secret words" not in str(shown)


async def test_one_that_is_away_is_kept_and_told(lonely_api: AsyncClient) -> None:
    shown = await created(await lonely_api.put(AT, json={"url": "http://127.0.0.1:9"}))

    assert (shown["reachable"], shown["reason"]) == (False, "n8n can't be reached at this address.")
    assert (await created(await lonely_api.get(AT)))["url"] == "http://127.0.0.1:9"


async def test_the_key_of_its_api_is_sealed_and_in_no_answer_and_no_line_of_the_audit_log(
    api: AsyncClient, n8n: N8nLab, sessions: Sessions
) -> None:
    n8n.api_key = "eyJ-a-key-that-nobody-reads"

    put_, got = await put(api, n8n), await created(await api.get(AT))
    refused = await api.put(AT, json={"url": 7, "api_key": n8n.api_key})

    assert n8n.api_key not in f"{put_} {got} {refused.text}"
    async with sessions.accounts() as db:
        [sealed] = await db.scalars(text("select credentials from integrations"))
        logged = " ".join(await db.scalars(text("select audit_log::text from audit_log")))
    assert sealed.startswith("v1.")
    assert "integration" in logged
    assert n8n.api_key not in logged
    assert sealed not in logged


async def test_a_key_is_told_no_other_address_than_the_one_it_was_given_for(
    lonely_api: AsyncClient, n8n: N8nLab
) -> None:
    await put(lonely_api, n8n)
    kept = await created(await lonely_api.put(AT, json={"url": n8n.url}))
    async with N8nLab() as other:
        moved = await created(await lonely_api.put(AT, json={"url": other.url}))

        assert (kept["has_api_key"], moved["has_api_key"]) == (True, False)
        assert other.keys_seen == []
    removed = await put(lonely_api, n8n, api_key=None)
    assert removed["has_api_key"] is False


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://169.254.169.254", "not on the public Internet"),
        ("http://10.0.0.1:5678", "not on the public Internet"),
        ("ftp://n8n.example", "Write n8n's address"),
        ("https://ada:secret@n8n.example", "without a user"),
        ("https://n8n.example/?x=1", "without a user"),
        ("https://", "Write n8n's address"),
        ("http://n8n.example:port", "Write n8n's address"),
        ("nonsense", "Write n8n's address"),
        ("https://n8n.example:65536", "Write n8n's address"),
        ("https://n8n.\0example", "Write n8n's address"),
        ("https://n8n.example/\0", "Write n8n's address"),
        ("https://n8n.example/a\tb", "Write n8n's address"),
        ("https://n8n .example", "Write n8n's address"),
        ("https://n8n.example\\@other.example/", "Write n8n's address"),
    ],
)
async def test_an_address_that_is_never_called_is_refused(
    strict_api: AsyncClient, url: str, said: str
) -> None:
    problem = refusal(await strict_api.put(AT, json={"url": url}), 422)

    [error] = problem["errors"]
    assert error["pointer"] == "/url"
    assert said in error["detail"]


async def test_what_n8n_did_here_and_was_told_is_shown(
    api: AsyncClient, n8n: N8nLab, sessions: Sessions
) -> None:
    made = await created(await api.post(f"{V1}/keys", json={"name": "n8n", "permissions": ["lists:write"]}))
    theirs = {"Authorization": f"Bearer {made['key']}"}
    lists = [
        await created(await api.post(f"{V1}/lists", json={"name": name}, headers=headers))
        for name, headers in (("By n8n", theirs), ("By somebody else", {}))
    ]
    async with sessions(DEFAULT_WORKSPACE) as db:
        for nth, url in enumerate((f"{n8n.url}/webhook/x", f"{n8n.url}0/webhook/x", "https://other.example")):
            hook = Webhook(
                workspace_id=DEFAULT_WORKSPACE, name=str(nth), url=url, event_types=[], secret="sealed"
            )
            db.add(hook)
            await db.flush()
            for state, status in (("failed", 500), ("delivered", 200)):
                await db.flush()
                db.add(
                    WebhookDelivery(
                        workspace_id=DEFAULT_WORKSPACE,
                        webhook_id=hook.id,
                        event_type="job.failed",
                        body="{}",
                        state=state,
                        created_at=NOON,
                        due_at=NOON,
                        closed_at=NOON,
                        status=status,
                    )
                )

    shown = await put(api, n8n, key_id=made["id"])

    [change] = shown["calls"]["changes"]
    assert (change["action"], change["object_kind"], change["object_id"]) == (
        "create",
        "list",
        lists[0]["id"],
    )
    assert shown["calls"]["used_at"] is not None
    [told] = shown["told"]
    assert (told["name"], told["delivery"], told["status"]) == ("0", "delivered", 200)
    unknown = refusal(await api.put(AT, json={"url": n8n.url, "key_id": lists[0]["id"]}), 422)
    assert unknown["errors"][0]["pointer"] == "/key_id"


async def test_another_workspace_sees_nothing_of_it(
    nobody: AsyncClient, n8n: N8nLab, sessions: Sessions
) -> None:
    first = await an_owner(nobody, sessions, "first@example.com")
    second = await an_owner(nobody, sessions, "second@example.com")
    assert (await nobody.put(AT, json={"url": n8n.url}, headers=first.headers)).is_success

    problem = refusal(await second.get("/integrations/n8n"), 404)

    assert "PUT /api/v1/integrations/n8n" in problem["detail"]


async def test_it_can_be_forgotten(lonely_api: AsyncClient, n8n: N8nLab) -> None:
    await put(lonely_api, n8n)

    assert (await lonely_api.delete(AT)).status_code == 204

    refusal(await lonely_api.get(AT), 404)
    refusal(await lonely_api.delete(AT), 404)
