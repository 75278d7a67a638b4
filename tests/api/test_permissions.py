"""Who may do what, written out by hand: every operation, asked by everybody, against one table.

The table is not the app's: a permission that was forgotten, or given to somebody else, shows as a difference.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from fastapi.routing import iter_route_contexts
from httpx2 import AsyncClient, Response
from sqlalchemy import text

from domain.access import Access
from domain.keys import new_key
from domain.roles import GRANTABLE, KeyKind
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import keys
from tests.api.conftest import the_app
from tests.api.people import Person, a_member, an_owner, signed_in
from tests.api.support import EVERYBODY, V1, a_profile, a_segment
from tests.api.things import NOTHING, Operation, one_of_each, operations
from tests.support import OWNER_OF_ALL
from tests.walls import contents

# o, a, m, v: the owner, an admin, a marketer, a viewer. k: an sk_ key with all that a key can have.
# p: a pk_ key. e: an sk_ key without permissions. Who is not there gets 403, and 401 without a credential
# or with one that has expired. Where the path names a thing, or the header this workspace, a member of
# another gets 404. "anybody" needs no credential.
MATRIX = """
GET /health                                     anybody
GET /ready                                      anybody
POST /auth/register                             anybody
POST /auth/login                                anybody
POST /auth/refresh                              anybody
POST /auth/verify-email                         anybody
POST /auth/forgot-password                      anybody
POST /auth/reset-password                       anybody
GET /auth/google/start                          anybody
GET /auth/oidc/callback                         anybody
GET /auth/issuers/{issuer_id}/start             anybody
GET /auth/issuers/{issuer_id}/callback          anybody
POST /auth/logout                               o a m v - - -
GET /users/me                                   o a m v - - -
PATCH /users/me                                 o a m v - - -
GET /users/me/sessions                          o a m v - - -
DELETE /users/me/sessions                       o a m v - - -
DELETE /users/me/sessions/{session_id}          o a m v - - -
POST /users/me/second-factor                    o a m v - - -
POST /users/me/second-factor/confirm            o a m v - - -
POST /users/me/second-factor/off                o a m v - - -
GET /whoami                                     o a m v k p e
POST /workspaces                                o a m v - - -
GET /workspaces                                 o a m v k - -
GET /workspaces/{workspace_id}                  o a m v k - -
PATCH /workspaces/{workspace_id}                o a - - k - -
DELETE /workspaces/{workspace_id}               o - - - - - -
GET /workspace                                  o a m v k - -
PATCH /workspace                                o a - - k - -
GET /deliverability                             o a m v k - -
POST /deliverability/{held_channel}/release     o a - - k - -
POST /domains                                   o a - - k - -
GET /domains                                    o a m v k - -
GET /domains/{domain_id}                        o a m v k - -
DELETE /domains/{domain_id}                     o a - - k - -
POST /domains/{domain_id}/check                 o a - - k - -
POST /senders                                   o a - - k - -
GET /senders                                    o a m v k - -
GET /senders/{sender_id}                        o a m v k - -
PATCH /senders/{sender_id}                      o a - - k - -
POST /senders/{sender_id}/verify                o a - - k - -
DELETE /senders/{sender_id}                     o a - - k - -
POST /workspace/tracking-host                   o a - - k - -
POST /workspace/hand-over                       o - - - - - -
GET /users                                      o a - - k - -
GET /members                                    o a - - k - -
PATCH /members/{user_id}                        o a - - k - -
DELETE /members/{user_id}                       o a - - k - -
POST /invitations                               o a - - k - -
GET /invitations                                o a - - k - -
DELETE /invitations/{invitation_id}             o a - - k - -
POST /invitations/accept                        o a m v - - -
POST /keys                                      o a - - k - -
GET /keys                                       o a - - k - -
GET /keys/{key_id}                              o a - - k - -
DELETE /keys/{key_id}                           o a - - k - -
POST /keys/{key_id}/rotate                      o a - - k - -
POST /issuers                                   o a - - k - -
GET /issuers                                    o a - - k - -
GET /issuers/{issuer_id}                        o a - - k - -
PATCH /issuers/{issuer_id}                      o a - - k - -
DELETE /issuers/{issuer_id}                     o a - - k - -
POST /providers                                 o a - - k - -
GET /providers                                  o a m - k - -
GET /providers/kinds                            o a m - k - -
GET /providers/{provider_id}                    o a m - k - -
PATCH /providers/{provider_id}                  o a - - k - -
DELETE /providers/{provider_id}                 o a - - k - -
POST /providers/{provider_id}/check             o a - - k - -
POST /providers/{provider_id}/test              o a - - k - -
GET /providers/{provider_id}/health             o a m - k - -
POST /providers/{provider_id}/hold              o a - - k - -
POST /providers/{provider_id}/release           o a - - k - -
GET /providers/{provider_id}/history            o a m - k - -
POST /routes                                    o a - - k - -
GET /routes                                     o a m - k - -
GET /routes/plan                                o a m - k - -
GET /routes/{route_id}                          o a m - k - -
PATCH /routes/{route_id}                        o a - - k - -
DELETE /routes/{route_id}                       o a - - k - -
GET /audit-log                                  o a - - k - -
GET /failure-logs                               o a m v k - -
GET /failure-logs/summary                       o a m v k - -
GET /failure-logs/{failure_id}                  o a m v k - -
POST /failure-logs                              o a m - k - -
POST /failure-logs/acknowledge                  o a m - k - -
POST /failure-logs/{failure_id}/acknowledge     o a m - k - -
POST /failure-logs/retry                        o a m - k - -
POST /failure-logs/{failure_id}/retry           o a m - k - -
POST /callbacks/{callback_token}                anybody
POST /segments                                  o a m - k - -
GET /segments                                   o a m v k - -
POST /segments/estimate                         o a m v k - -
GET /segments/{segment_id}                      o a m v k - -
PATCH /segments/{segment_id}                    o a m - k - -
DELETE /segments/{segment_id}                   o a m - k - -
POST /segments/overlap                          o a m v k - -
GET /segments/schema                            o a m v k - -
GET /segments/presets                           o a m v k - -
POST /segments/presets                          o a m - k - -
POST /segments/{segment_id}/recalculate         o a m - k - -
GET /segments/{segment_id}/versions             o a m v k - -
GET /segments/{segment_id}/members              o a m v k - -
GET /segments/{segment_id}/history              o a m v k - -
GET /segments/{segment_id}/explain              o a m v k - -
POST /templates                                 o a m - k - -
GET /templates                                  o a m v k - -
GET /templates/{template_id}                    o a m v k - -
PATCH /templates/{template_id}                  o a m - k - -
DELETE /templates/{template_id}                 o a m - k - -
POST /campaigns                                 o a m - k - -
GET /campaigns                                  o a m v k - -
GET /campaigns/{campaign_id}                    o a m v k - -
PATCH /campaigns/{campaign_id}                  o a m - k - -
DELETE /campaigns/{campaign_id}                 o a m - k - -
POST /campaigns/{campaign_id}/send              o a m - k - -
POST /campaigns/{campaign_id}/start             o a m - k - -
POST /campaigns/{campaign_id}/schedule          o a m - k - -
POST /campaigns/{campaign_id}/unschedule        o a m - k - -
POST /campaigns/{campaign_id}/pause             o a m - k - -
POST /campaigns/{campaign_id}/resume            o a m - k - -
POST /campaigns/{campaign_id}/cancel            o a m - k - -
POST /campaigns/{campaign_id}/test              o a m - k - -
GET /campaigns/{campaign_id}/stats              o a m v k - -
GET /campaigns/{campaign_id}/preview            o a m v k - -
GET /campaigns/{campaign_id}/cost               o a m v k - -
GET /campaigns/{campaign_id}/messages           o a m v k - -
POST /flows                                     o a m - k - -
GET /flows                                      o a m v k - -
GET /flows/{flow_id}                            o a m v k - -
PATCH /flows/{flow_id}                          o a m - k - -
DELETE /flows/{flow_id}                         o a m - k - -
POST /flows/{flow_id}/publish                   o a m - k - -
POST /flows/{flow_id}/pause                     o a m - k - -
POST /flows/{flow_id}/resume                    o a m - k - -
POST /flows/{flow_id}/archive                   o a m - k - -
POST /flows/{flow_id}/enroll                    o a m - k - -
GET /flows/{flow_id}/stats                      o a m v k - -
GET /flows/{flow_id}/messages                   o a m v k - -
GET /profiles                                   o a m v k - -
GET /profiles/{profile_id}                      o a m v k - -
GET /profiles/{profile_id}/messages             o a m v k - -
POST /profiles                                  o a m - k - -
POST /profiles/batch                            o a m - k - -
PATCH /profiles/{profile_id}                    o a m - k - -
DELETE /profiles/{profile_id}                   o a - - k - -
POST /profiles/{profile_id}/merge               o a m - k - -
GET /profiles/{profile_id}/export               o a m - k - -
GET /profiles/{profile_id}/timeline             o a m v k - -
GET /profiles/{profile_id}/notes                o a m v k - -
POST /profiles/{profile_id}/notes               o a m - k - -
DELETE /profiles/{profile_id}/notes/{note_id}   o a m - k - -
PUT /profiles/{profile_id}/tags/{tag}           o a m - k - -
DELETE /profiles/{profile_id}/tags/{tag}        o a m - k - -
GET /profiles/{profile_id}/consents             o a m v k - -
POST /profiles/{profile_id}/consents            o a m - k - -
POST /profiles/{profile_id}/preference-link     o a m - k - -
GET /suppressions                               o a m v k - -
POST /suppressions                              o a m - k - -
DELETE /suppressions/{suppression_id}           o a m - k - -
POST /lists                                     o a m - k - -
GET /lists                                      o a m v k - -
GET /lists/{list_id}                            o a m v k - -
PATCH /lists/{list_id}                          o a m - k - -
DELETE /lists/{list_id}                         o a m - k - -
GET /lists/{list_id}/members                    o a m v k - -
POST /lists/{list_id}/members                   o a m - k - -
POST /lists/{list_id}/members/remove            o a m - k - -
DELETE /lists/{list_id}/members/{profile_id}    o a m - k - -
POST /topics                                    o a m - k - -
GET /topics                                     o a m v k - -
GET /topics/{topic_id}                          o a m v k - -
PATCH /topics/{topic_id}                        o a m - k - -
DELETE /topics/{topic_id}                       o a m - k - -
GET /attributes                                 o a m v k - -
GET /attributes/{attribute}                     o a m v k - -
PATCH /attributes/{attribute}                   o a m - k - -
POST /messages                                  o a m - k - -
POST /messages/batch                            o a m - k - -
GET /messages                                   o a m v k - -
GET /messages/{message_id}                      o a m v k - -
GET /messages/{message_id}/content              o a m - k - -
POST /orders                                    o a m - k - -
POST /orders/batch                              o a m - k - -
GET /orders                                     o a m v k - -
GET /orders/{order}                             o a m v k - -
PATCH /orders/{order}                           o a m - k - -
GET /events                                     o a m v k - -
GET /events/catalogue                           o a m v k - -
GET /events/catalogue/{event_name}              o a m v k - -
PATCH /events/catalogue/{event_name}            o a m - k - -
GET /events/refused                             o a m v k - -
GET /events/lag                                 o a m v k - -
GET /events/quarantine                          o a m v k - -
POST /events/quarantine/replay                  o a m - k - -
POST /events/quarantine/{quarantined_id}/replay o a m - k - -
GET /exports/profiles                           o a m - k - -
GET /exports/events                             o a m - k - -
GET /exports/segments/{segment_id}              o a m - k - -
POST /imports                                   o a m - k - -
GET /imports                                    o a m v k - -
GET /imports/{import_id}                        o a m v k - -
GET /imports/{import_id}/errors                 o a m v k - -
POST /webhooks                                  o a - - k - -
GET /webhooks                                   o a m - k - -
GET /webhooks/event-types                       o a m - k - -
GET /webhooks/{webhook_id}                      o a m - k - -
PATCH /webhooks/{webhook_id}                    o a - - k - -
DELETE /webhooks/{webhook_id}                   o a - - k - -
POST /webhooks/{webhook_id}/rotate-secret       o a - - k - -
POST /webhooks/{webhook_id}/test                o a - - k - -
GET /webhooks/{webhook_id}/deliveries           o a m - k - -
GET /webhooks/{webhook_id}/deliveries/{delivery_id}         o a m - k - -
POST /webhooks/{webhook_id}/deliveries/{delivery_id}/replay o a - - k - -
POST /webhooks/{webhook_id}/replay              o a - - k - -
GET /integrations/n8n                           o a m - k - -
PUT /integrations/n8n                           o a - - k - -
DELETE /integrations/n8n                        o a - - k - -
"""
# What the document leaves out, and needs no credential: itself, pages for people, and short paths, which only
# lead to what it has.
PAGES = {
    *("/", "/docs", "/docs/assets", "/openapi.json", "/mailbox"),
    *("/accounts/confirm", "/accounts/reset", "/accounts/join", "/accounts/sender"),
    *("/auth/{rest:path}", "/users/me"),
    *("/campaigns", "/campaigns/{rest:path}", "/flows", "/flows/{rest:path}"),
    *("/orders", "/orders/{rest:path}", "/customers", "/customers/{rest:path}"),
    *("/audience-segment", "/audience-segment/{rest:path}"),
    *("/audience-segments", "/audience-segments/{rest:path}"),
}

TABLE = {" ".join(words[:2]): " ".join(words[2:]) for words in map(str.split, MATRIX.strip().splitlines())}
# Their 401 is about what they were sent: a password, a token, the state of a sign-in.
REFUSED_BY_WHAT_IS_SENT = {
    *("POST /auth/login", "POST /auth/refresh"),
    *("GET /auth/oidc/callback", "GET /auth/issuers/{issuer_id}/callback"),
}
# A body that names what is not there is at fault itself, and gets 422; these say like a path that it is not.
NAMES_WHOM = {"POST /workspace/hand-over"}
# So that they do not end what the next one asks with.
LAST = ("DELETE /users/me/sessions", "POST /auth/logout", "DELETE /integrations/n8n")


@dataclass
class Askers:
    """The headers of each letter of the table, and of those who never are in it."""

    members: dict[str, dict[str, str]]
    nobodies: list[dict[str, str]]
    stranger: dict[str, str]  # In a workspace of their own, where they may do everything.
    strangers_key: dict[str, str]
    intruders: list[dict[str, str]]  # The same two, who name this workspace.


async def askers(api: AsyncClient, sessions: Sessions) -> Askers:
    first = await signed_in(api, OWNER_OF_ALL.email, OWNER_OF_ALL.password)
    owner = await a_member(first, sessions, "owner@example.com", "owner")
    stranger = await an_owner(api, sessions, "stranger@example.com")
    assert stranger.workspace is not None
    everything = [each.value for each in GRANTABLE]
    members = {"o": owner.headers}
    for role in ("admin", "marketer", "viewer"):
        members[role[0]] = (await a_member(owner, sessions, f"{role}@example.com", role)).headers
    for letter, kind, permissions in (
        ("k", KeyKind.SECRET, everything),
        ("p", KeyKind.PUBLIC, everything),  # It was stored with more than it may ever use.
        ("e", KeyKind.SECRET, []),
    ):
        members[letter] = await a_key(sessions, DEFAULT_WORKSPACE, kind, permissions)
    theirs = await a_key(sessions, UUID(stranger.workspace), KeyKind.SECRET, everything)
    here = {"X-Workspace-Id": str(DEFAULT_WORKSPACE)}
    return Askers(
        members,
        nobodies=[{}, {"Authorization": f"Bearer {await an_expired_token(owner)}"}],
        stranger=stranger.headers,
        strangers_key=theirs,
        intruders=[stranger.headers | here, theirs | here],
    )


async def a_key(
    sessions: Sessions, workspace_id: UUID, kind: KeyKind, permissions: list[str]
) -> dict[str, str]:
    secret = new_key(kind)
    async with sessions(workspace_id) as db:
        key = await keys.create(db, workspace_id, secret, "Test", frozenset(), None)
        values = {"permissions": permissions, "id": key.id}
        await db.execute(text("update keys set permissions = :permissions where id = :id"), values)
    return {"Authorization": f"Bearer {secret}"}


async def an_expired_token(person: Person) -> str:
    """Of a session that is good."""
    sessions = (await person.get("/users/me/sessions")).json()["items"]
    [current] = [UUID(each["id"]) for each in sessions if each["current"]]
    me = UUID((await person.get("/users/me")).json()["id"])
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    token: str = the_app().state.stack.access.sign(Access(me, current), an_hour_ago)
    return token


def test_the_table_has_a_line_for_every_operation_and_no_other() -> None:
    named = [operation.name for operation in operations()]

    assert sorted(named) == sorted(TABLE)


def test_no_route_hides_from_the_document() -> None:
    described = {operation.path for operation in operations()}
    all_of_them = {route.path or "" for route in iter_route_contexts(the_app().routes)}

    # What takes the rest of a path is described without saying so.
    named = {path.replace(":path}", "}") if path.startswith(V1) else path for path in all_of_them}
    assert named - described == PAGES


async def test_whoever_may_not_is_refused_and_changes_nothing(api: AsyncClient, sessions: Sessions) -> None:
    ids = await one_of_each(api, sessions)
    who = await askers(api, sessions)
    for headers in who.members.values():  # A key's first use is noted.
        assert (await api.get("/api/v1/whoami", headers=headers)).is_success
    here = await contents(sessions, DEFAULT_WORKSPACE)
    wrong: list[str] = []

    for operation in operations():
        may = TABLE[operation.name]
        if may == "anybody":
            continue
        refused = [("nobody", 401, headers) for headers in who.nobodies]
        refused += [("an intruder", 404, headers) for headers in who.intruders]
        if "{" in operation.path or operation.body(ids) != operation.body({}):
            status = 404 if "{" in operation.path or operation.name in NAMES_WHOM else 422
            refused.append(("a stranger", status, who.stranger))
            if "k" in may:
                refused.append(("a stranger's key", status, who.strangers_key))
        refused += [(one, 403, headers) for one, headers in who.members.items() if one not in may.split()]
        for one, status, headers in refused:
            answer = await ask(api, operation, headers, ids)
            if answer.status_code != status:
                wrong.append(f"{operation.name} by {one}: {answer.status_code}, not {status}: {answer.text}")

    assert not wrong, "\n".join(wrong)
    assert await contents(sessions, DEFAULT_WORKSPACE) == here


async def test_whoever_may_is_let_through(lonely_api: AsyncClient, sessions: Sessions) -> None:
    """To where Temporal is missing, for what needs it."""
    api = lonely_api
    ids = await one_of_each(api, sessions)
    who = await askers(api, sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:  # What is under way keeps a workspace from being deleted.
        await db.execute(text("update campaigns set state = 'running'"))
    # What could be used up is asked for by the id of nothing: 404 is then said by who would have done it.
    nothing = {name: id_ if name == "workspace_id" else NOTHING for name, id_ in ids.items()}
    wrong: list[str] = []

    for operation in sorted(operations(), key=lambda each: (each.name in LAST, each.name)):
        may = TABLE[operation.name]
        reads = operation.method == "GET" and may != "anybody"
        allowed = [(each, headers) for each, headers in who.members.items() if each in may.split()]
        if may == "anybody":
            allowed = [("nobody", headers) for headers in who.nobodies]
        for one, headers in allowed:
            answer = await ask(api, operation, headers, ids if reads else nothing)
            passed = answer.status_code == 200 if reads else answer.status_code not in (401, 403)
            if not passed and operation.name not in REFUSED_BY_WHAT_IS_SENT:
                wrong.append(f"{operation.name} by {one}: {answer.status_code}: {answer.text}")

    assert not wrong, "\n".join(wrong)


async def ask(
    api: AsyncClient, operation: Operation, headers: dict[str, str], ids: dict[str, str]
) -> Response:
    api.headers.pop("Authorization", None)
    given = {"params": operation.query(), **operation.body(ids)}
    return await api.request(operation.method, operation.at(ids), headers=headers, **given)


async def test_who_reads_segments_alone_learns_how_many_there_are_and_not_who(
    api: AsyncClient, sessions: Sessions
) -> None:
    who = await a_profile(sessions)
    segment = await a_segment(api)
    counts = await a_key(sessions, DEFAULT_WORKSPACE, KeyKind.SECRET, ["segments:read"])
    both = ["segments:read", "profiles:read"]
    reads = await a_key(sessions, DEFAULT_WORKSPACE, KeyKind.SECRET, both)
    members, estimate = f"{V1}/segments/{segment}/members", f"{V1}/segments/estimate"
    everybody = {"rule": EVERYBODY}

    refused = await api.get(members, headers=counts)
    counted = (await api.post(estimate, json=everybody, headers=counts)).json()
    shown = (await api.post(estimate, json=everybody, headers=reads)).json()

    assert refused.status_code == 403
    assert "profiles:read" in refused.json()["detail"]
    assert (await api.get(members, headers=reads)).is_success
    assert (counted["count"], counted["members"]) == (1, [])
    assert [each["profile_id"] for each in shown["members"]] == [str(who)]
    assert counted == {**shown, "members": []}
