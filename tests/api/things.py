"""One of each kind of thing in the default workspace, for tests that walk everything the API has."""

from collections.abc import AsyncIterator, Iterator
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from httpx2 import AsyncClient
from sqlalchemy import text

from api.app import build
from api.docs import described
from domain.failures import Subject
from domain.imports import ImportKind
from domain.tokens import About, Tokens
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import (
    failures,
    failures_found,
    holds,
    imports,
    integrations,
    issuers,
    verified_senders,
)
from settings import Settings
from tests.api.people import signed_in, stack_of
from tests.api.support import V1, a_campaign, a_profile, a_segment, a_sender, a_template, created
from tests.api.test_flows import a_definition
from tests.calling import a_call
from tests.people import NOON, a_person, an_event, an_order, put_aside
from tests.sending import a_bare_message
from tests.support import OWNER_OF_ALL

NOTHING = "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"  # No id of anything, and the one of all our examples.

AN_ISSUER = "https://login.records.example"
A_WEBHOOK = {"name": "n8n", "url": "http://127.0.0.1:9/hook", "event_types": ["job.failed"]}

A_MESSAGE = {
    "channel": "email",
    "body": {"subject": "Hello", "html": "<p>Your code is {{ code }}.</p>"},
    "to": {"profile": "thea@example.com"},
    "data": {"code": "4711"},
}


class Operation(NamedTuple):
    """One operation of the OpenAPI document."""

    name: str  # "GET /segments/{segment_id}", without the prefix.
    method: str
    path: str
    described: dict[str, Any]

    def at(self, ids: dict[str, str]) -> str:
        """Its address, with these ids in the place of their names."""
        return self.path.format_map(ids)

    def query(self) -> dict[str, str]:
        """What it must be asked with, as its parameters' own examples have it."""
        return {
            each["name"]: each["schema"].get("examples", ["ada@example.com"])[0]
            for each in self.described.get("parameters", [])
            if each["in"] == "query" and each["required"]
        }

    def body(self, ids: dict[str, str]) -> dict[str, Any]:
        """What a client would be handed to send it: its own example, with ids that exist."""
        content = self.described.get("requestBody", {}).get("content", {})
        if form := content.get("multipart/form-data"):
            example = {**form["example"]}
            file = ("people.csv", example.pop("file").encode(), "text/csv")
            return {
                "data": {name: str(value).lower() for name, value in example.items()},
                "files": {"file": file},
            }
        if described := content.get("application/json"):
            return {"json": with_ids(described["schema"]["example"], ids)}
        return {}


def operations(document: dict[str, Any] | None = None) -> Iterator[Operation]:
    """All that the document describes, with the schema of each body written out at its place."""
    document = document or _document()
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for media in operation.get("requestBody", {}).get("content", {}).values():
                if name := media["schema"].get("$ref", "").rpartition("/")[2]:
                    media["schema"] = schemas[name]
            name = f"{method.upper()} {path.removeprefix(V1)}"
            yield Operation(name, method.upper(), path, operation)


@cache
def _document() -> dict[str, Any]:
    """Of an application of its own: to write it takes seconds."""
    return described(build(Settings()))


def with_ids(example: Any, ids: dict[str, str]) -> Any:
    """The example with our ids in the place of its made-up ones."""
    match example:
        case dict():
            return {
                name: ids[name] if name in ids and isinstance(value, str) else with_ids(value, ids)
                for name, value in example.items()
            }
        case list():
            return [with_ids(each, ids) for each in example]
    return example


async def one_of_each(api: AsyncClient, sessions: Sessions) -> dict[str, str]:
    """What stands in the API's paths, by its name there. Its session is the owner's; `api` has their key."""
    await a_sender(api)
    owner = await signed_in(api, OWNER_OF_ALL.email, OWNER_OF_ALL.password)
    [session] = (await created(await owner.get("/users/me/sessions")))["items"]
    [member] = (await created(await api.get(f"{V1}/members")))["items"]
    template, segment = await a_template(api), await a_segment(api)
    key = {"name": "n8n", "permissions": ["campaigns:read"]}
    invitation = {"email": "grace@example.com", "role": "viewer"}
    flow = {"name": "Welcome", "definition": a_definition(template)}
    provider = await a_provider(api)
    webhook = await _made(api, "/webhooks", A_WEBHOOK)
    delivery = await _made(api, f"/webhooks/{webhook}/test", {})
    async with sessions(DEFAULT_WORKSPACE) as db:
        file = await imports.upload(
            db, DEFAULT_WORKSPACE, ImportKind.CUSTOMERS, "people.csv", _file(), live=False
        )
        issuer = uuid4()
        staff = {"name": "Staff", "issuer": AN_ISSUER, "client_id": "campanile", "client_secret": "v1.x.x"}
        await issuers.create(db, DEFAULT_WORKSPACE, issuer, staff)
        # The one that the example of a change to the workspace names, so that it can send after it.
        example, _ = await verified_senders.put(db, DEFAULT_WORKSPACE, "hello@records.example", NOON)
        example.verified_at = NOON
        buyer = await a_person(db, "buyer@example.com")
        await an_order(db, buyer, 30, NOON)
        order = await db.scalar(text("select id from orders"))
        await an_event(db, buyer)
        aside = await put_aside(db)
        await holds.hold(db, DEFAULT_WORKSPACE, "sms", "It was too much.", NOON)
        call = await a_call(db)
        n8n = {"kind": "n8n", "url": "http://127.0.0.1:9"}
        await integrations.put(db, DEFAULT_WORKSPACE, None, n8n)
    return {
        "workspace_id": str(DEFAULT_WORKSPACE),
        "user_id": member["user_id"],
        "session_id": session["id"],
        "key_id": await _made(api, "/keys", key),
        "invitation_id": await _made(api, "/invitations", invitation),
        "issuer_id": str(issuer),
        "provider_id": provider,
        "route_id": await a_route(api, provider, "transactional"),
        "domain_id": await _made(api, "/domains", {"name": "tests.example"}),
        "sender_id": await _made(api, "/senders", {"email": "tests@records.example"}),
        "segment_id": segment,
        "template_id": template,
        "campaign_id": await a_campaign(api, segment_id=segment, template_id=template),
        "flow_id": await _made(api, "/flows", flow),
        "profile_id": str(await a_profile(sessions, first_name="Ada")),
        "import_id": str(file.id),
        "order": str(order),
        "event_name": "Product Viewed",
        **await of_people(api),
        "quarantined_id": str(aside),
        "message_id": await _made(api, "/messages", A_MESSAGE),
        "held_channel": "sms",
        "webhook_id": webhook,
        "delivery_id": delivery,
        "failure_id": await a_failure(sessions),
        "callback_token": _signing(api).sign(DEFAULT_WORKSPACE, call, About.CALL),
    }


def _signing(api: AsyncClient) -> Tokens:
    return Tokens(stack_of(api).settings.signing_key.encode())


async def of_people(api: AsyncClient) -> dict[str, str]:
    """What somebody who is there by the name of Thea has, and a list, and a topic."""
    body = {"email": "thea@example.com", "attributes": {"first_name": "Thea"}}
    thea = await _made(api, "/profiles", body)
    assert (await api.put(f"{V1}/profiles/{thea}/tags/early")).is_success
    return {
        "note_id": await _made(api, f"/profiles/{thea}/notes", {"text": "Called."}),
        "list_id": await _made(api, "/lists", {"name": "Newsletter of tests"}),
        "topic_id": await _made(api, "/topics", {"name": "Concerts of tests"}),
        "suppression_id": await _made(
            api, "/suppressions", {"channel": "email", "address": "none@example.com"}
        ),
        "tag": "early",
        "attribute": "first_name",
    }


async def a_failure(sessions: Sessions) -> str:
    """Of a message to somebody who is no profile, by a provider that was away."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        why = {"state": "failed", "reason": "451 4.3.2 Not now"}
        _, line = await a_bare_message(db, "thea@example.com", **why)
        await failures.note_messages(db, DEFAULT_WORKSPACE, [line], NOON)
        found = await failures_found.noted(db, DEFAULT_WORKSPACE, Subject.MESSAGE, str(line))
        return str(found.id)


async def a_provider(api: AsyncClient) -> str:
    """An account that sends nothing."""
    return await _made(api, "/providers", {"name": "Another trial", "kind": "simulated"})


async def a_route(api: AsyncClient, provider_id: str, message_class: str) -> str:
    body = {"channel": "email", "class": message_class, "provider_id": provider_id}
    return await _made(api, "/routes", body)


async def _made(api: AsyncClient, path: str, body: dict[str, Any]) -> str:
    return str(UUID((await created(await api.post(f"{V1}{path}", json=body)))["id"]))


async def _file() -> AsyncIterator[bytes]:
    yield b"customer_id,email\n1,ada@example.com\n"
