"""Secrets show in no log, no error, no history of Temporal's, and in no answer but the one that gives them.

One long story, in which everything that can be done with secrets is done, right and wrong; then a search.
"""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pyotp
import structlog
from google.protobuf.json_format import MessageToJson
from httpx2 import AsyncClient, Response
from sqlalchemy import text
from temporalio.client import Client as TemporalClient

from api.stack import TemporalLink
from domain.workspaces import SYSTEM_WORKSPACE
from lab.issuer import IssuerLab
from logs import configure_logging
from models.base import Sessions
from tests.api.browser import Browser, an_issuer, start_of
from tests.api.conftest import SETTINGS, served, the_app
from tests.api.people import Person, mailed
from tests.api.support import V1, a_campaign, a_sender, created
from tests.databases import Database
from tests.support import eventually
from tests.workflows.site import at_work

EMAIL = "ada@example.com"
PASSWORD = "Nightingales-sing-at-four"
NEXT_PASSWORD = "Blackbirds-sing-at-five"
WRONG = "Owls-never-sing-at-noon"
WEAK = "qwerty12"
CLIENT_SECRET = "the secret of records"  # As `an_issuer` sends it.


@dataclass
class Told:
    """Every answer, and which secret may stand in the answers of which path."""

    answers: list[tuple[str, str]] = field(default_factory=list)
    secrets: dict[str, set[str]] = field(default_factory=dict)

    async def note(self, response: Response) -> None:
        await response.aread()
        headers = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
        self.answers.append((response.request.url.path.removeprefix(V1), f"{headers}\n\n{response.text}"))

    def keep(self, *secrets: str, shown_by: str = "") -> None:
        assert all(len(secret) > 6 for secret in secrets), "Too short to be searched for."
        for secret in secrets:
            self.secrets.setdefault(secret, set()).add(shown_by)

    def spilt(self, where: str) -> list[str]:
        return [secret for secret in self.secrets if secret in where]


@contextmanager
def the_log() -> Iterator[io.StringIO]:
    """All that this process logs meanwhile, as it would write it, and more of it than usual."""
    root, before, lines = logging.getLogger(), logging.getLogger().handlers[:], io.StringIO()
    level, configured = root.level, structlog.get_config()
    configure_logging("DEBUG", "api")
    structlog.configure(cache_logger_on_first_use=False)
    for handler in root.handlers:
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(lines)
        handler.addFilter(lambda record: not record.name.startswith(("httpx2", "httpcore2")))  # The client's.
    try:
        yield lines
    finally:
        root.handlers, root.level = before, level
        structlog.configure(**configured)


async def test_secrets_show_in_no_log_no_history_and_in_no_answer_but_their_own(
    database: Database,
    sessions: Sessions,
    temporal: TemporalClient,
    temporal_address: str,
    issuer: IssuerLab,
) -> None:
    told = Told()
    told.keep(PASSWORD, NEXT_PASSWORD, WRONG, WEAK, CLIENT_SECRET, "lab-secret")
    told.keep("$argon2id$", "v1.dev.")  # How hashes of passwords, and sealed secrets, begin.
    told.keep(SETTINGS.encryption_keys.partition(":")[2], SETTINGS.signing_key)
    with the_log() as log:
        async with (
            served(sessions, TemporalLink(temporal_address, temporal.namespace)) as api,
            at_work(temporal, sessions, database) as site,
        ):
            site.started.append(f"outbox/{SYSTEM_WORKSPACE}/express")
            site.clock.move(timedelta(hours=1))  # Whatever is queued from here on is due.
            del api.headers["Authorization"]
            api.event_hooks = {"response": [told.note]}
            the_app().state.stack.settings = SETTINGS.model_copy(
                update={
                    "google_issuer": issuer.url,
                    "google_client_id": "campanile",
                    "google_client_secret": "lab-secret",
                }
            )
            ada = await joined(api, sessions, told)
            await a_second_factor(ada, told)
            await keys(ada, told)
            await guests(ada, sessions, told)
            await an_outside_issuer(ada, issuer, told)
            workflows = await sendings(ada)
            await mistakes(api, ada, told)
            await breakdowns(api, database)
            await eventually(lambda: all_is_sent(sessions), what="every mail")
            told.keep(*await all_that_was_mailed(sessions))
            histories = [
                await history(temporal, id_) for id_ in (*workflows, f"outbox/{SYSTEM_WORKSPACE}/express")
            ]

    assert "A request failed" in log.getvalue()
    assert told.spilt(log.getvalue()) == []
    for each in histories:
        assert told.spilt(each) == []
    for path, answer in told.answers:
        shown = [secret for secret in told.spilt(answer) if path not in told.secrets[secret]]
        assert shown == [], f"{path} answered {answer}"


async def joined(api: AsyncClient, sessions: Sessions, told: Told) -> Person:
    """Somebody registers, confirms, forgets, changes, and signs in, with some mistakes on the way."""
    body = {"email": EMAIL, "password": PASSWORD, "name": "Ada"}
    for _ in range(2):  # The second time, by a link of its own.
        await created(await api.post(f"{V1}/auth/register", json=body))
    [token, _] = await mailed(sessions, EMAIL, "verify email")
    await api.post(f"{V1}/auth/verify-email", json={"token": f"{token}x"})
    assert (await api.post(f"{V1}/auth/verify-email", json={"token": token})).is_success
    await api.post(f"{V1}/auth/login", json={"email": EMAIL, "password": WRONG})
    await api.post(f"{V1}/auth/forgot-password", json={"email": EMAIL})
    [token] = await mailed(sessions, EMAIL, "reset password")
    await api.post(f"{V1}/auth/reset-password", json={"token": token, "password": WEAK})
    new = {"token": token, "password": NEXT_PASSWORD}
    assert (await api.post(f"{V1}/auth/reset-password", json=new)).is_success
    ada = Person(api, EMAIL, await signed_in(api, told, NEXT_PASSWORD))
    tokens = {"refresh_token": ada.tokens["refresh_token"]}
    ada.tokens = await created(await api.post(f"{V1}/auth/refresh", json=tokens))
    told.keep(ada.tokens["access_token"], ada.tokens["refresh_token"], shown_by="/auth/refresh")
    ada.workspace = (await created(await ada.post("/workspaces", {"name": "Records"})))["id"]
    await ada.patch("/users/me", {"password": WEAK, "current_password": NEXT_PASSWORD})
    await ada.patch("/users/me", {"password": PASSWORD, "current_password": WRONG})
    change = {"email": "ada@other.example", "current_password": NEXT_PASSWORD}
    await created(await ada.patch("/users/me", change))
    await created(await ada.patch("/users/me", {"password": PASSWORD, "current_password": NEXT_PASSWORD}))
    return ada


async def signed_in(api: AsyncClient, told: Told, password: str, **more: str) -> dict[str, Any]:
    body = {"email": EMAIL, "password": password, **more}
    tokens = await created(await api.post(f"{V1}/auth/login", json=body))
    told.keep(tokens["access_token"], tokens["refresh_token"], shown_by="/auth/login")
    return tokens


async def a_second_factor(ada: Person, told: Told) -> None:
    at = "/users/me/second-factor"
    secret = (await created(await ada.post(at, {"current_password": PASSWORD})))["secret"]
    told.keep(secret, shown_by=at)
    confirmed = await created(await ada.post(f"{at}/confirm", {"code": pyotp.TOTP(secret).now()}))
    codes = confirmed["recovery_codes"]
    told.keep(*codes, shown_by=f"{at}/confirm")
    body = {"email": EMAIL, "password": PASSWORD}
    for code in ("", "000000", f"{codes[1]}x"):
        await ada.api.post(f"{V1}/auth/login", json=body | {"code": code})
    await signed_in(ada.api, told, PASSWORD, code=codes[1])
    await ada.post(f"{at}/off", {"code": codes[2], "current_password": WRONG})
    assert (await ada.post(f"{at}/off", {"code": codes[3], "current_password": PASSWORD})).is_success


async def keys(ada: Person, told: Told) -> None:
    made = await created(await ada.post("/keys", {"name": "n8n"}))
    told.keep(made["key"], shown_by="/keys")
    again = f"/keys/{made['id']}/rotate"
    rotated = await created(await ada.post(again, {"overlap_seconds": 60}))
    told.keep(rotated["key"], shown_by=again)
    headers = {"Authorization": f"Bearer {rotated['key']}"}
    assert (await ada.api.get(f"{V1}/whoami", headers=headers)).is_success
    for path in ("/keys", f"/keys/{made['id']}", "/audit-log"):
        assert (await ada.get(path)).is_success
    assert (await ada.delete(f"/keys/{rotated['id']}")).is_success
    assert (await ada.api.get(f"{V1}/whoami", headers=headers)).status_code == 401


async def guests(ada: Person, sessions: Sessions, told: Told) -> None:
    await created(await ada.post("/invitations", {"email": "grace@example.com", "role": "viewer"}))
    [token] = await mailed(sessions, "grace@example.com", "invitation")
    body = {"email": "grace@example.com", "password": PASSWORD, "invitation": token}
    await ada.api.post(f"{V1}/auth/register", json=body | {"email": "eve@example.com"})
    await created(await ada.api.post(f"{V1}/auth/register", json=body))
    await ada.post("/invitations/accept", {"token": token})
    assert (await ada.get("/invitations")).is_success


async def an_outside_issuer(ada: Person, issuer: IssuerLab, told: Told) -> None:
    browser = Browser(ada.api)
    for start in ("/auth/google/start", start_of(await an_issuer(ada, issuer))):
        tokens = (await browser.come(start)).json()
        if "access_token" in tokens:
            at = "/auth/oidc/callback"
            told.keep(tokens["access_token"], tokens["refresh_token"], shown_by=at)
    assert (await ada.get("/issuers")).is_success


async def sendings(ada: Person) -> list[str]:
    """A campaign is tested and started, and a file read. Returns the workflows' ids."""
    ada.api.headers |= ada.headers
    await a_sender(ada.api)
    campaign = await a_campaign(ada.api)
    await created(await ada.post(f"/campaigns/{campaign}/test", {"addresses": ["me@records.example"]}))
    file = {"file": ("people.csv", b"customer_id,email\n1,ada@example.com\n", "text/csv")}
    read = await created(
        await ada.api.post(f"{V1}/imports", data={"kind": "customers"}, files=file, headers=ada.headers)
    )
    import_id = read["id"]

    async def is_read() -> bool:
        return bool((await ada.get(f"/imports/{import_id}")).json()["state"] == "completed")

    await eventually(is_read, what="the import")
    started = await created(await ada.post(f"/campaigns/{campaign}/start"))
    for name in ada.headers:
        del ada.api.headers[name]
    return [started["workflow_id"], f"import/{import_id}/people-csv", f"outbox/{ada.workspace}"]


async def mistakes(api: AsyncClient, ada: Person, told: Told) -> None:
    """What is refused is not repeated, wherever in a request the secret stood."""
    token = ada.tokens["refresh_token"]
    sent: list[Any] = [
        {"email": EMAIL, "pasword": WRONG},
        {"email": EMAIL, "password": [WRONG]},
        {"email": EMAIL, "password": {"is": WRONG}},
        {"email": WRONG, "password": WRONG},
        {"email": EMAIL, "password": WRONG * 50},
        {"email": EMAIL, "password": WEAK},
        [WRONG],
        WRONG,
        {"refresh_token": [token], "token": f"{PASSWORD}\n" * 20, "code": WRONG * 9},
    ]
    paths = ("register", "login", "refresh", "verify-email", "forgot-password", "reset-password")
    for path in paths:
        for body in sent:
            assert (await api.post(f"{V1}/auth/{path}", json=body)).is_client_error or path == "register"
        for raw in (
            f'{{"password": "{WRONG}"',
            f'{{"password": "{WRONG}\\x"}}',
            f'{{"password": "{WRONG}\\ud800"}}',
            f'{{"password": "{WRONG}\xff"}}',
            f"password={WRONG}",
        ):
            asked: dict[str, Any] = {
                "content": raw.encode("latin-1"),
                "headers": {"Content-Type": "application/json"},
            }
            assert (await api.post(f"{V1}/auth/{path}", **asked)).is_client_error
        await api.post(f"{V1}/auth/{path}", data={"email": EMAIL, "password": WRONG})
        await api.post(f"{V1}/auth/{path}", params={"password": WRONG}, json={"email": EMAIL})
    for path in ("/users/me/second-factor", "/users/me/second-factor/off", "/keys", "/issuers"):
        for body in sent:
            assert (await ada.post(path, body)).is_client_error
    for credential in (f"Basic {WRONG}", f"Bearer {WRONG}", f"Bearer sk_{WRONG}", f"Bearer {token}"):
        assert (await api.get(f"{V1}/whoami", headers={"Authorization": credential})).status_code == 401
    for form in ({"token": WRONG, "password": WEAK}, {"token": WRONG * 20, "password": WRONG}):
        assert (await api.post("/accounts/reset", data=form)).status_code == 422


async def breakdowns(api: AsyncClient, database: Database) -> None:
    """Something breaks in the midst of what holds a secret: a statement, or a rule that nobody foresaw."""
    for broken, mended in (
        ("alter table user_tokens rename to gone", "alter table gone rename to user_tokens"),
        (
            "alter table users add constraint strange check (name <> 'Broken')",
            "alter table users drop constraint strange",
        ),
    ):
        owner = Sessions(database.url, database.admin_url)
        async with owner.engine() as db:
            await db.execute(text(broken))
        body = {"email": "broken@example.com", "password": PASSWORD, "name": "Broken"}
        assert (await api.post(f"{V1}/auth/register", json=body)).status_code == 500
        async with owner.engine() as db:
            await db.execute(text(mended))
        await owner.close()


async def all_is_sent(sessions: Sessions) -> bool:
    async with sessions.engine() as db:
        return not await db.scalar(
            text("select count(*) from messages where state in ('queued', 'claimed', 'sending')")
        )


async def all_that_was_mailed(sessions: Sessions) -> list[str]:
    """The tokens in all links of all mails."""
    async with sessions.engine() as db:
        found = text(
            "select (regexp_matches(holes::text, 'token=([A-Za-z0-9_-]{20,})', 'g'))[1] from messages"
        )
        tokens = [*await db.scalars(found)]
    assert len(tokens) >= 4
    return tokens


async def history(temporal: TemporalClient, workflow_id: str) -> str:
    """All that Temporal keeps of a workflow, its payloads as they are and as text."""
    handle = temporal.get_workflow_handle(workflow_id)
    fetched = await handle.fetch_history()
    raw = b"".join(event.SerializeToString() for event in fetched.events).decode("latin-1")
    description = await handle.describe()
    return raw + "\n".join(map(MessageToJson, fetched.events)) + MessageToJson(description.raw_description)
