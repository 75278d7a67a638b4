"""The whole OpenAPI document against the real thing: each operation succeeds once, and none ever breaks.

First a story in which everything is asked for as its own example shows, with ids that exist; then whatever a
generator of values makes of the document's schemas. What is answered must be what the document says.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pyotp
import schemathesis
from httpx2 import ASGITransport, AsyncClient, Response
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import text
from temporalio.client import Client as TemporalClient

from api.app import build
from api.docs import described
from api.front import Front
from api.stack import Stack, TemporalLink
from dev.temporal import NAMESPACE
from domain.workspaces import DEFAULT_WORKSPACE, SYSTEM_WORKSPACE
from lab.issuer import Client, IssuerLab
from lab.issuer import Person as Somebody
from models.base import AUDITED, Sessions
from settings import Settings
from tests.api.browser import Browser
from tests.api.people import Person, a_member, an_owner, mailed, signed_in
from tests.api.support import V1, a_campaign, a_segment, a_template, created, soon
from tests.api.test_flows import a_definition
from tests.api.things import A_WEBHOOK, Operation, a_provider, a_route, one_of_each, operations
from tests.databases import Database
from tests.support import OWNER_OF_ALL
from tests.workflows.site import SlowProvider, at_work

# What can't be had in one process, and why. At most a tenth of all.
BEYOND_REACH: dict[str, str] = {}

# In the order in which one thing makes the next possible; what is not here comes before, reads first.
LAST = (
    "POST /failure-logs/retry",  # After that of one.
    "GET /auth/google/start",
    "GET /auth/issuers/{issuer_id}/start",
    "GET /auth/oidc/callback",
    "GET /auth/issuers/{issuer_id}/callback",
    "POST /campaigns/{campaign_id}/schedule",
    "POST /campaigns/{campaign_id}/unschedule",
    "POST /campaigns/{campaign_id}/start",
    "POST /campaigns/{campaign_id}/pause",
    "POST /campaigns/{campaign_id}/resume",
    "POST /campaigns/{campaign_id}/cancel",
    "POST /campaigns/{campaign_id}/send",
    "POST /flows/{flow_id}/publish",
    "POST /flows/{flow_id}/pause",
    "POST /flows/{flow_id}/resume",
    "POST /flows/{flow_id}/enroll",
    "POST /flows/{flow_id}/archive",
    "DELETE /users/me/sessions/{session_id}",
    "DELETE /users/me/sessions",
    "POST /users/me/second-factor",
    "POST /users/me/second-factor/confirm",
    "POST /users/me/second-factor/off",
    "POST /workspace/hand-over",
    "POST /auth/logout",
)
# Where a browser begins that comes back there.
BEGINNING = {
    "GET /auth/oidc/callback": "/auth/google/start",
    "GET /auth/issuers/{issuer_id}/callback": "/auth/issuers/{issuer_id}/start",
}
# What was made by its own example is deleted.
MADE_ON_THE_WAY = {
    f"DELETE /{kind}s/{{{kind}_id}}": kind for kind in ("domain", "sender", "flow", "workspace", "webhook")
}
EXAMPLES = 3  # Of each operation and each kind.
ENOUGH = (
    48  # Operations that what is made up for them must reach, too; the rest ask for what nobody makes up.
)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@dataclass
class Story:
    """Who asks, in which API, and what is different from an operation's own example."""

    api: AsyncClient
    sessions: Sessions
    owner: Person
    ids: dict[str, str]
    issuer: IssuerLab
    told: dict[str, Any] = field(default_factory=dict)  # What was answered, by operation.

    async def body(self, operation: Operation) -> dict[str, Any]:
        made = OTHERWISE.get(operation.name)
        return {"json": await made(self)} if made else operation.body(self.ids)

    async def ask(self, operation: Operation) -> Response:
        ids = self.ids | await self.spare(operation.name)
        if operation.name.endswith("/callback"):
            return await Browser(self.api).come(BEGINNING[operation.name].format_map(ids))
        at, asked = operation.at(ids), {"params": operation.query(), **await self.body(operation)}
        return await self.api.request(operation.method, at, headers=self.owner.headers, **asked)

    async def spare(self, name: str) -> dict[str, str]:
        """Something to throw away."""
        if kind := MADE_ON_THE_WAY.get(name):
            return {f"{kind}_id": self.told[f"POST /{kind}s"]["id"]}
        match name:
            case "POST /webhooks/{webhook_id}/deliveries/{delivery_id}/replay":
                await self.given_up(self.ids["delivery_id"])
            case "GET /auth/issuers/{issuer_id}/start" | "GET /auth/issuers/{issuer_id}/callback":
                return {"issuer_id": self.told["POST /issuers"]["id"]}
            case "DELETE /segments/{segment_id}":
                return {"segment_id": await a_segment(self.api)}
            case "DELETE /templates/{template_id}":
                return {"template_id": await a_template(self.api)}
            case "DELETE /campaigns/{campaign_id}" | "POST /campaigns/{campaign_id}/send":
                return {"campaign_id": await a_campaign(self.api)}
            case (
                "DELETE /profiles/{profile_id}"
                | "POST /profiles/{profile_id}/merge"
                | "DELETE /profiles/{profile_id}/notes/{note_id}"
                | "DELETE /profiles/{profile_id}/tags/{tag}"
                | "DELETE /lists/{list_id}"
                | "DELETE /topics/{topic_id}"
                | "DELETE /suppressions/{suppression_id}"
            ):
                return await self.of_somebody()
            case "DELETE /providers/{provider_id}":
                return {"provider_id": await a_provider(self.api)}
            case "DELETE /routes/{route_id}":
                return {"route_id": await a_route(self.api, await a_provider(self.api), "marketing")}
            case "PATCH /members/{user_id}" | "DELETE /members/{user_id}":
                return {"user_id": await self.a_member(name.partition(" ")[0].lower())}
        return {}

    async def given_up(self, delivery: str) -> None:
        async with self.sessions(DEFAULT_WORKSPACE) as db:
            closed = "update webhook_deliveries set state = 'failed', closed_at = now() where id = :id"
            await db.execute(text(closed), {"id": delivery})

    async def of_somebody(self) -> dict[str, str]:
        """A new person with a note and a tag, and a list, a topic and a suppression that nobody needs."""
        name = uuid4().hex
        posted = {
            "profile_id": ("/profiles", {"user_id": name}),
            "note_id": ("/profiles/{profile_id}/notes", {"text": "Called."}),
            "list_id": ("/lists", {"name": name}),
            "topic_id": ("/topics", {"name": name}),
            "suppression_id": ("/suppressions", {"channel": "email", "address": f"{name}@example.com"}),
        }
        made = {"tag": "late"}
        for id_, (path, body) in posted.items():
            answer = await self.api.post(f"{V1}{path.format_map(made)}", json=body)
            made[id_] = (await created(answer))["id"]
        assert (await self.api.put(f"{V1}/profiles/{made['profile_id']}/tags/late")).is_success
        return made

    async def what_is_left(self) -> dict[str, str]:
        """New things in the place of those that were deleted, archived or used up on the way."""
        made = {f"{kind}_id": self.told[f"POST /{kind}s"]["id"] for kind in ("issuer", "key", "invitation")}
        flow = {"name": "Hello", "definition": a_definition(await a_template(self.api))}
        return {
            **made,
            "user_id": await self.a_member("somebody"),
            "campaign_id": await a_campaign(self.api),
            "flow_id": (await created(await self.api.post(f"{V1}/flows", json=flow)))["id"],
        }

    async def a_member(self, name: str) -> str:
        member = await a_member(self.owner, self.sessions, f"{name}@example.com", "viewer")
        return str((await created(await member.get("/users/me")))["id"])


async def registered(story: Story, kind: str) -> str:
    """The token of a mail of this kind, to somebody who is new."""
    email = f"{kind.replace(' ', '-')}@example.com"
    if kind == "invitation":
        await created(await story.owner.post("/invitations", {"email": email, "role": "viewer"}))
    else:
        body = {"email": email, "password": "a bell that rings at noon"}
        await created(await story.api.post(f"{V1}/auth/register", json=body))
    if kind == "reset password":
        await created(await story.api.post(f"{V1}/auth/forgot-password", json={"email": email}))
    return (await mailed(story.sessions, email, kind))[-1]


async def login(story: Story) -> dict[str, str]:
    return {"email": OWNER_OF_ALL.email, "password": OWNER_OF_ALL.password}


async def refresh(story: Story) -> dict[str, str]:
    tokens = (await signed_in(story.api, OWNER_OF_ALL.email, OWNER_OF_ALL.password)).tokens
    return {"refresh_token": tokens["refresh_token"]}


async def verify(story: Story) -> dict[str, str]:
    return {"token": await registered(story, "verify email")}


async def reset(story: Story) -> dict[str, str]:
    return {"token": await registered(story, "reset password"), "password": "six bells in the evening"}


async def accept(story: Story) -> dict[str, str]:
    """The owner is asked into somebody else's workspace."""
    host = await an_owner(story.api, story.sessions, "host@example.com")
    await created(await host.post("/invitations", {"email": OWNER_OF_ALL.email, "role": "viewer"}))
    return {"token": (await mailed(story.sessions, OWNER_OF_ALL.email, "invitation"))[-1]}


async def password(story: Story) -> dict[str, str]:
    return {"current_password": OWNER_OF_ALL.password}


async def code(story: Story) -> dict[str, str]:
    return {"code": pyotp.TOTP(story.told["POST /users/me/second-factor"]["secret"]).now()}


async def off(story: Story) -> dict[str, str]:
    codes = story.told["POST /users/me/second-factor/confirm"]["recovery_codes"]
    return {"code": codes[0], "current_password": OWNER_OF_ALL.password}


async def an_issuer(story: Story) -> dict[str, str]:
    client = Client("records", "the secret of records")
    story.issuer.clients["records"] = client
    story.issuer.user = Somebody("1001", "staff@example.com")
    await story.a_member("staff")
    named = {"client_id": client.id, "client_secret": client.secret}
    return {"name": "Staff", "issuer": story.issuer.url, **named}


async def hand_over(story: Story) -> dict[str, str]:
    return {"user_id": await story.a_member("heir")}


async def enroll(story: Story) -> dict[str, Any]:
    return {"profiles": ["ada@example.com"]}


async def merge(story: Story) -> dict[str, Any]:
    return {"into": story.ids["profile_id"]}


async def overlap(story: Story) -> dict[str, Any]:
    """Two segments that somebody looked at."""
    ids = [await a_segment(story.api) for _ in range(2)]
    async with story.sessions(DEFAULT_WORKSPACE) as db:
        known = "update segments set materialized_at = now() where id = any(cast(:ids as uuid[]))"
        await db.execute(text(known), {"ids": ids})
    return {"segment_ids": ids}


async def a_webhook(_: Story) -> dict[str, Any]:
    """At an address that is there."""
    return A_WEBHOOK


async def no_host(_: Story) -> dict[str, Any]:
    return {"host": None}  # One that leads to us needs a certificate.


# Where a secret, or somebody's being there, is needed, no example can be enough.
async def a_time(_: Story) -> dict[str, str]:
    """The example's is past."""
    return {"at": soon()}


OTHERWISE: dict[str, Callable[[Story], Awaitable[dict[str, Any]]]] = {
    "POST /issuers": an_issuer,
    "POST /profiles/{profile_id}/merge": merge,
    "POST /auth/login": login,
    "POST /auth/refresh": refresh,
    "POST /auth/verify-email": verify,
    "POST /auth/reset-password": reset,
    "POST /invitations/accept": accept,
    "POST /users/me/second-factor": password,
    "POST /users/me/second-factor/confirm": code,
    "POST /users/me/second-factor/off": off,
    "POST /workspace/hand-over": hand_over,
    "POST /workspace/tracking-host": no_host,
    "POST /webhooks": a_webhook,
    "POST /flows/{flow_id}/enroll": enroll,
    "POST /segments/overlap": overlap,
    "POST /campaigns/{campaign_id}/schedule": a_time,
}


async def test_every_operation_succeeds_as_its_example_shows_and_nothing_breaks_whatever_is_sent(
    database: Database, sessions: Sessions, temporal: TemporalClient, issuer: IssuerLab, temporal_address: str
) -> None:
    set_to = Settings(
        database_url=database.url,
        engine_database_url=database.engine_url,
        temporal_address=temporal_address,
        temporal_namespace=NAMESPACE,
        public_url="https://mail.records.example",
        egress_networks="127.0.0.0/8",
        google_issuer=issuer.url,
        google_client_id="campanile",
        google_client_secret="lab-secret",
    )
    app = build(set_to)
    document = described(app)
    app.state.stack = Stack(set_to, sessions, TemporalLink(temporal_address, NAMESPACE))
    transport = ASGITransport(app=Front(app))
    key = {"Authorization": f"Bearer {OWNER_OF_ALL.key}"}
    channel = SlowProvider(batch=1, pause=0.3)
    async with (
        AsyncClient(transport=transport, base_url="http://campanile", headers=key, timeout=60) as api,
        at_work(temporal, sessions, database, channel=channel) as site,
    ):
        site.started.append(f"outbox/{SYSTEM_WORKSPACE}/express")
        story = await begun(api, sessions, issuer)
        reached, wrong = await told(story, document)
        assert not wrong, "\n".join(wrong)
        assert {each.name for each in operations(document)} - reached == BEYOND_REACH.keys()
        async with sessions.engine() as db:  # And whatever was made on the way, the audit log knows of.
            kinds = set(await db.scalars(text("select object_kind from audit_log")))
        assert kinds == {*AUDITED.values(), "profile"}  # One was erased, and one exported.
        async with sessions(DEFAULT_WORKSPACE) as db:  # It was handed over, and the session ended.
            await db.execute(text("update memberships set role = 'owner' where role = 'admin'"))
        story.owner = await the_owner(api)
        ids = story.ids | await story.what_is_left()
        done: set[str] = set()
        asked_anew = build(set_to)  # In a loop of its own; what describes them is the same.
        asked_anew.openapi_schema = app.openapi_schema
        schema = schemathesis.openapi.from_asgi("/openapi.json", Front(asked_anew))
        wrong = await asyncio.to_thread(lambda: list(broken(schema, ids, story.owner.headers, done)))
    assert not wrong, "\n".join(wrong)
    assert len(done) >= ENOUGH, f"only {len(done)} operations succeeded with what was made up"


async def begun(api: AsyncClient, sessions: Sessions, issuer: IssuerLab) -> Story:
    ids = await one_of_each(api, sessions)
    owner = await the_owner(api)
    async with sessions(DEFAULT_WORKSPACE) as db:  # Enough people for a campaign to be paused in its midst.
        await db.execute(text(_PEOPLE), {"here": DEFAULT_WORKSPACE})
    return Story(api, sessions, owner, ids, issuer)


async def the_owner(api: AsyncClient) -> Person:
    owner = await signed_in(api, OWNER_OF_ALL.email, OWNER_OF_ALL.password)
    owner.workspace = str(DEFAULT_WORKSPACE)
    return owner


_PEOPLE = """
    with made as (
        insert into profiles (workspace_id) select :here from generate_series(1, 40) returning id
    ), named as (
        insert into identities (workspace_id, kind, value, profile_id)
        select :here, 'email', id || '@shop.example', id from made
    )
    insert into consents (workspace_id, profile_id, purpose, state, source, at)
    select :here, id, 'email', 'granted', 'import', now() from made
"""


async def told(story: Story, document: dict[str, Any]) -> tuple[set[str], list[str]]:
    """Which operations succeeded, and what is wrong with which answers."""
    schema = schemathesis.openapi.from_dict(document)
    reached, wrong = set(), []

    def turn(operation: Operation) -> tuple[int, int]:
        later = LAST.index(operation.name) + 1 if operation.name in LAST else 0
        return later, ("GET", "POST", "PUT", "PATCH", "DELETE").index(operation.method)

    for operation in sorted(operations(document), key=turn):
        answer = await story.ask(operation)
        done = answer.is_success or answer.has_redirect_location
        if done:
            reached.add(operation.name)
        if done == (operation.name in BEYOND_REACH):
            wrong.append(f"{operation.name}: {answer.status_code}: {answer.text}")
        if answer.content and answer.headers["content-type"] == "application/json":
            story.told[operation.name] = answer.json()
        await answer.request.aread()  # An upload was streamed.
        try:
            schema[operation.path][operation.method].validate_response(answer)
        except (Failure, FailureGroup) as error:
            wrong.append(f"{operation.name}: {error}")
    return reached, wrong


def broken(schema: Any, ids: dict[str, str], headers: dict[str, str], done: set[str]) -> Iterator[str]:
    """What was answered otherwise than the document says, and how to ask for it again."""
    for result in schema.get_all_operations():
        operation: APIOperation[Any, Any, Any, Any] = result.ok()
        if operation.label == "POST /api/v1/auth/logout":  # There is nothing to vary, and it ends us.
            continue
        # Real ids, so that more is reached than "not found"; made-up ones for what would end a thing.
        here = {name: ids[name] for name in ids if f"{{{name}}}" in operation.path}
        known = here if here and operation.method.upper() != "DELETE" else None
        varied = operation.body or operation.query or (operation.path_parameters and not known)
        for mode in GenerationMode if varied else [GenerationMode.POSITIVE]:
            try:
                asked(operation, mode, known, headers, done)
            except (Failure, FailureGroup) as error:
                yield f"{operation.label}, {mode.value}: {error}"


def asked(
    operation: Any,
    mode: GenerationMode,
    known: dict[str, str] | None,
    headers: dict[str, str],
    done: set[str],
) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode, path_parameters=known, headers=headers))
    def ask(case: Case[Any]) -> None:
        response = case.call(headers=headers)
        if response.status_code < 400:
            done.add(operation.label.replace(V1, ""))
        case.validate_response(response, checks=CHECKS)

    ask()
