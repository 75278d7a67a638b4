"""Credentials that are forged, stolen, used up or called back, at every door that asks for one."""

import base64
import hmac
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from httpx2 import ASGITransport, AsyncClient, Response
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from api.app import build
from api.front import Front
from api.memory import REMEMBERED, Memory
from api.stack import Stack, TemporalLink
from domain.access import AccessTokens
from domain.keys import new_key
from domain.roles import KeyKind
from models.base import Sessions
from tests.api.conftest import SETTINGS, Clocked, the_app
from tests.api.people import Person, a_member, a_person, an_owner
from tests.api.support import V1, created, refusal

SIGNING = SETTINGS.signing_key.encode()
OURS = OctKey.import_key(hmac.digest(SIGNING, b"campanile access tokens", "sha256"))
ANOTHER = OctKey.import_key(hmac.digest(SIGNING, b"another purpose", "sha256"))
PAIR = RSAKey.generate_key(2048)

Claims = dict[str, Any]


def signed(claims: Claims, key: Any = OURS, algorithm: str = "HS256", **header: Any) -> str:
    return jwt.encode({"alg": algorithm, **header}, claims, key, algorithms=[algorithm])


def without(claims: Claims, *names: str) -> Claims:
    return {name: value for name, value in claims.items() if name not in names}


def unsigned(claims: Claims) -> str:
    """The header says `none`, and the signature is left out (RFC 7519, section 6)."""
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    return f"{header}.{signed(claims).split('.')[1]}."


def relabelled(claims: Claims) -> str:
    """The body of one token under the signature of another."""
    head, _, signature = signed(claims).split(".")
    _, body, _ = signed(claims | {"sub": str(uuid4())}).split(".")
    return f"{head}.{body}.{signature}"


FORGED: dict[str, Callable[[Claims], str]] = {
    "without a signature": unsigned,
    "its signature cut off": lambda claims: signed(claims).rpartition(".")[0] + ".",
    "under a key that we derive for something else": lambda claims: signed(claims, ANOTHER),
    "under the signing key itself": lambda claims: signed(claims, OctKey.import_key(SIGNING)),
    "by another algorithm of the same key": lambda claims: signed(claims, algorithm="HS512"),
    "by RS256": lambda claims: signed(claims, PAIR, "RS256"),
    "by ES256": lambda claims: signed(claims, ECKey.generate_key("P-256"), "ES256"),
    "under a key that it brings along": lambda claims: signed(
        claims, PAIR, "RS256", jwk=PAIR.as_dict(private=False)
    ),
    "for another audience": lambda claims: signed(claims | {"aud": "another-api"}),
    "for several audiences": lambda claims: signed(claims | {"aud": ["campanile-api", "another-api"]}),
    "of another issuer": lambda claims: signed(claims | {"iss": "another"}),
    "without an issuer": lambda claims: signed(without(claims, "iss")),
    "without an audience": lambda claims: signed(without(claims, "aud")),
    "without a person": lambda claims: signed(without(claims, "sub")),
    "without a session": lambda claims: signed(without(claims, "sid")),
    "without an end": lambda claims: signed(without(claims, "exp")),
    "without a beginning": lambda claims: signed(without(claims, "iat")),
    "of a session that never was": lambda claims: signed(claims | {"sid": str(uuid4())}),
    "of a session that is no id": lambda claims: signed(claims | {"sid": "x"}),
    "whose end is no number": lambda claims: signed(claims | {"exp": "tomorrow"}),
    "whose end is endless": lambda claims: signed(claims | {"exp": float("inf")}),
    "that has ended": lambda claims: signed(claims | {"exp": claims["iat"] - 1}),
    "that was not issued yet": lambda claims: signed(claims | {"iat": claims["iat"] + 3600}),
    "with another's body": relabelled,
    "that is garbage": lambda _: "eyJ.eyJ.x",
    "that is a dot": lambda _: "..",
    "that is a key's beginning": lambda _: "sk_",
    "that is a key nobody made": lambda _: new_key(KeyKind.SECRET),
}


async def the_claims(api: AsyncClient, sessions: Sessions, clocked: Clocked) -> Claims:
    """What the access token of a session says that is good."""
    person = await a_person(api, sessions)
    claims: Claims = jwt.decode(person.tokens["access_token"], OURS, algorithms=["HS256"]).claims
    assert claims["exp"] > clocked.clock.now().timestamp()
    return claims


async def asked(api: AsyncClient, credential: str, path: str = "/whoami") -> Response:
    return await api.get(f"{V1}{path}", headers={"Authorization": f"Bearer {credential}"})


async def test_a_token_that_is_not_ours_is_refused(
    nobody: AsyncClient, sessions: Sessions, clocked: Clocked
) -> None:
    claims = await the_claims(nobody, sessions, clocked)

    for how, forge in FORGED.items():
        answer = await asked(nobody, forge(claims))
        assert answer.status_code == 401, f"a token {how}: {answer.text}"
    # A token as we make it is good: so the others were refused for what they are.
    assert (await asked(nobody, signed(claims))).is_success


async def test_a_token_of_an_installation_with_another_signing_key_is_refused(
    nobody: AsyncClient, sessions: Sessions, clocked: Clocked
) -> None:
    claims, now = await the_claims(nobody, sessions, clocked), clocked.clock.now()
    access = the_app().state.stack.access.read(signed(claims), now)

    theirs = AccessTokens("another signing key, of 32 characters").sign(access, now)

    refusal(await asked(nobody, theirs), 401)


async def test_a_refresh_token_is_no_access_token_nor_the_reverse(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    tokens = (await a_person(nobody, sessions)).tokens

    refusal(await asked(nobody, tokens["refresh_token"]), 401)
    body = {"refresh_token": tokens["access_token"][:200]}
    refusal(await nobody.post(f"{V1}/auth/refresh", json=body), 401)


async def test_a_refresh_token_that_is_replayed_ends_the_session_for_the_thief_too(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    person = await a_person(nobody, sessions)
    stolen = {"refresh_token": person.tokens["refresh_token"]}
    thief = Person(nobody, person.email, await created(await nobody.post(f"{V1}/auth/refresh", json=stolen)))

    refusal(await nobody.post(f"{V1}/auth/refresh", json=stolen), 401)

    refusal(await thief.get("/users/me"), 401)
    again = {"refresh_token": thief.tokens["refresh_token"]}
    refusal(await nobody.post(f"{V1}/auth/refresh", json=again), 401)


async def test_a_session_speaks_of_no_workspace_that_its_person_is_not_a_member_of(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    theirs = (await an_owner(nobody, sessions, "stranger@example.com")).workspace
    ada = await an_owner(nobody, sessions)
    own, ada.workspace = ada.workspace, theirs

    for path in ("/segments", "/workspace", "/whoami", "/users/me", "/workspaces"):
        refusal(await ada.get(path), 404)
    refusal(await ada.get(f"/workspaces/{uuid4()}"), 404)
    ada.workspace = own
    assert (await ada.get("/segments")).is_success
    refusal(await ada.get(f"/workspaces/{theirs}"), 404)


async def test_a_key_that_anybody_can_read_is_not_enough(nobody: AsyncClient, sessions: Sessions) -> None:
    ada = await an_owner(nobody, sessions)
    key = (await created(await ada.post("/keys", {"name": "Shop", "kind": "pk"})))["key"]

    assert (await asked(nobody, key)).json()["permissions"] == ["events:write"]
    refusal(await asked(nobody, key, "/segments"), 403)


async def test_a_key_with_one_character_changed_is_no_key(nobody: AsyncClient, sessions: Sessions) -> None:
    key = await a_key(await an_owner(nobody, sessions))

    for other in (key[:-1] + ("A" if key[-1] != "A" else "B"), "pk" + key[2:], key.upper(), key + " x"):
        refusal(await asked(nobody, other), 401)
    assert (await asked(nobody, key)).is_success


async def test_a_revoked_key_is_refused_at_once_where_it_was_revoked(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    ada = await an_owner(nobody, sessions)
    made = await created(await ada.post("/keys", {"name": "n8n"}))
    assert (await asked(nobody, made["key"])).is_success

    assert (await ada.delete(f"/keys/{made['id']}")).status_code == 204

    refusal(await asked(nobody, made["key"]), 401)


async def test_a_rotated_key_works_until_its_overlap_is_over(
    nobody: AsyncClient, sessions: Sessions, clocked: Clocked
) -> None:
    ada = await an_owner(nobody, sessions)
    old = await created(await ada.post("/keys", {"name": "n8n"}))
    new = await created(await ada.post(f"/keys/{old['id']}/rotate", {"overlap_seconds": 60}))

    clocked.clock.move(timedelta(seconds=59))
    assert (await asked(nobody, old["key"])).is_success
    clocked.clock.move(timedelta(seconds=1))

    refusal(await asked(nobody, old["key"]), 401)
    assert (await asked(nobody, new["key"])).is_success


async def test_a_key_ends_when_it_was_said_to(
    nobody: AsyncClient, sessions: Sessions, clocked: Clocked
) -> None:
    ada = await an_owner(nobody, sessions)
    end = (clocked.clock.now() + timedelta(minutes=1)).isoformat()
    key = (await created(await ada.post("/keys", {"name": "n8n", "expires_at": end})))["key"]
    assert (await asked(nobody, key)).is_success

    clocked.clock.move(timedelta(minutes=1))

    refusal(await asked(nobody, key), 401)


async def test_a_deleted_workspace_has_no_keys_and_no_members(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    ada = await an_owner(nobody, sessions)
    key = await a_key(ada)

    assert (await ada.delete(f"/workspaces/{ada.workspace}")).status_code == 204

    refusal(await asked(nobody, key), 401)
    refusal(await ada.get("/segments"), 404)


class Seconds:
    """The time that only goes forward, as what a process remembers reads it."""

    def __init__(self) -> None:
        self.passed = 1000.0

    def __call__(self) -> float:
        return self.passed


@dataclass
class Processes:
    """Two processes of the API over one database: each remembers for itself."""

    one: AsyncClient
    other: AsyncClient
    seconds: Seconds


@pytest.fixture
async def processes(sessions: Sessions) -> AsyncIterator[Processes]:
    seconds = Seconds()
    async with another_process(sessions, seconds) as one, another_process(sessions, seconds) as other:
        yield Processes(one, other, seconds)


def another_process(sessions: Sessions, seconds: Seconds) -> AsyncClient:
    app = build(SETTINGS)
    app.state.stack = Stack(
        SETTINGS,
        sessions,
        TemporalLink("127.0.0.1:9", "default"),
        keys=Memory(seconds=seconds),
        visitors=Memory(seconds=seconds),
    )
    return AsyncClient(transport=ASGITransport(app=Front(app)), base_url="http://campanile")


async def test_what_was_called_back_in_one_process_is_refused_in_the_other_within_five_seconds(
    processes: Processes, sessions: Sessions
) -> None:
    ada = await an_owner(processes.one, sessions)
    made = await created(await ada.post("/keys", {"name": "n8n"}))
    elsewhere = Person(processes.other, ada.email, ada.tokens, ada.workspace)
    assert (await asked(processes.other, made["key"])).is_success
    assert (await elsewhere.get("/segments")).is_success

    assert (await ada.delete(f"/keys/{made['id']}")).status_code == 204
    assert (await ada.post("/auth/logout")).status_code == 204
    refusal(await asked(processes.one, made["key"]), 401)
    refusal(await ada.get("/segments"), 401)
    processes.seconds.passed += 5

    refusal(await asked(processes.other, made["key"]), 401)
    refusal(await elsewhere.get("/segments"), 401)


async def test_to_ask_again_and_again_keeps_nothing_alive(processes: Processes, sessions: Sessions) -> None:
    """What is remembered is as old as its look-up, however often it was used since."""
    ada = await an_owner(processes.one, sessions)
    made = await created(await ada.post("/keys", {"name": "n8n"}))
    await asked(processes.other, made["key"])
    await ada.delete(f"/keys/{made['id']}")

    seen = []
    for _ in range(5):
        seen.append((await asked(processes.other, made["key"])).status_code)
        processes.seconds.passed += 1

    assert seen == [200, 200, 200, 401, 401]


async def test_whoever_is_no_member_any_more_is_refused_in_the_other_process_too(
    processes: Processes, sessions: Sessions
) -> None:
    ada = await an_owner(processes.one, sessions)
    bob = await a_member(ada, sessions, "bob@example.com", "marketer")
    elsewhere = Person(processes.other, bob.email, bob.tokens, bob.workspace)
    assert (await elsewhere.get("/segments")).is_success
    bobs_id = (await elsewhere.get("/users/me")).json()["id"]

    assert (await ada.patch(f"/members/{bobs_id}", {"role": "viewer"})).status_code == 204
    processes.seconds.passed += 5
    refusal(await elsewhere.post("/segments", {"name": "x", "rule": {"all": []}}), 403)
    assert (await ada.delete(f"/members/{bobs_id}")).status_code == 204
    processes.seconds.passed += 5

    refusal(await elsewhere.get("/segments"), 404)


def test_what_is_remembered_is_forgotten_after_three_seconds() -> None:
    seconds = Seconds()
    memory: Memory[str] = Memory(size=2, seconds=seconds)
    memory.keep("a", "found")
    assert memory.get("a") == "found"

    seconds.passed += REMEMBERED
    assert memory.get("a") is None
    assert REMEMBERED <= 5

    for what in "abc":
        memory.keep(what, what)
    assert [memory.get(what) for what in "abc"] == [None, "b", "c"]


async def a_key(owner: Person) -> str:
    return str((await created(await owner.post("/keys", {"name": "n8n"})))["key"])
