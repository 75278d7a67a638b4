"""What is left of somebody who was erased, and what they may ask for before: all of it."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
from httpx2 import AsyncClient
from sqlalchemy import text

from dev.postgres import Postgres
from domain.profiles import ConsentState, address_hash
from domain.workspaces import DEFAULT_WORKSPACE
from models import metadata
from models.base import Sessions
from models.events import Event, Quarantined, Refusal
from models.imports import Import, RejectedRow
from models.lists import Topic
from models.orders import Order
from models.queries import consents, profiles_exported
from models.queries.profiles_merged import merge
from tests.api.support import V1, created
from tests.databases import Database
from tests.people import HERE, NOON, a_flow, a_journey, a_message, a_person

ADDRESS, OTHER = "ada.lovelace@example.com", "countess@work.example"
PHONE, USER, DEVICE, NAME = "+491701234567", "customer-1815", "device-of-ada-1", "Lovelace"
SECRETS = (ADDRESS, OTHER, PHONE, USER, DEVICE, NAME)


async def somebody(api: AsyncClient, sessions: Sessions) -> UUID:
    """Ada, of whom there is something in every table that can hold anything of anybody."""
    body = {
        "email": ADDRESS,
        "phone": PHONE,
        "user_id": USER,
        "anonymous_id": DEVICE,
        "attributes": {"last_name": NAME, "plan": "pro"},
        "country": "GB",
        "consents": {"email": "granted", "sms": "granted", "tracking": "granted"},
    }
    once = {"Idempotency-Key": "once"}
    ada = UUID((await created(await api.post(f"{V1}/profiles", json=body, headers=once)))["id"])
    await created(await api.post(f"{V1}/profiles/{ada}/notes", json={"text": f"Mrs {NAME} called."}))
    assert (await api.put(f"{V1}/profiles/{ada}/tags/{NAME}")).is_success
    listed = await created(await api.post(f"{V1}/lists", json={"name": "News"}))
    await created(await api.post(f"{V1}/lists/{listed['id']}/members", json={"profiles": [ADDRESS]}))
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update attributes set hot = true"))
    await created(await api.patch(f"{V1}/profiles/{ada}", json={"attributes": {"last_name": f"{NAME}!"}}))
    await _by_hand(sessions, ada)
    return ada


async def _by_hand(sessions: Sessions, ada: UUID) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        alias = await a_person(db, OTHER)
        await merge(db, alias, ada, NOON)
        topic = Topic(**HERE, name="Concerts", purpose="email")
        db.add(topic)
        await db.flush()
        await consents.choose(db, ada, topic.id, ConsentState.GRANTED, "api", NOON)
        await a_message(db, ada, ADDRESS, holes=[NAME], detail=f"sent to {ADDRESS}")
        await a_message(db, None, ADDRESS, holes=[NAME])
        await a_journey(
            db, await a_flow(db), ada, f"{USER}:1", properties={"name": NAME}, history=[{"to": NAME}]
        )
        for who in (ada, alias):
            db.add(_an_event(who))
        lines = [{"title": f"Book by {NAME}"}]
        key = f"{USER}:2026-03-01:1:12.00:USD#0"
        order = {"ordered_at": NOON, "quantity": 1, "total": 12, "currency": "USD", "source": "import"}
        db.add(Order(**HERE, key=key, profile_id=ada, lines=lines, **order))
        file = Import(**HERE, kind="customers", live=False, file_name="people.csv")
        db.add(file)
        await db.flush()
        reason = f"Another profile already has the address {ADDRESS}: give this one its own."
        db.add(RejectedRow(**HERE, import_id=file.id, line=2, column="email", reason=reason))
        for names in ({"email": ADDRESS}, {"user_id": USER}):
            db.add(Quarantined(**HERE, id=uuid4(), at=NOON, reason="x", arrival={**names, "properties": {}}))
        for said in (f'{{"email": "{ADDRESS.upper()}"}}', f'{{"userId": "{USER}"}}'):
            db.add(Refusal(**HERE, at=NOON, stage="request", pointer="/email", reason="x", body=said))
    async with sessions.engine() as db:
        for name, value in (("email", ADDRESS), ("anonymous_id", DEVICE), ("user_id", USER)):
            await db.execute(text(_ARRIVAL.format(name=name)), {**HERE, "id": uuid4(), "value": value})


def _an_event(who: UUID) -> Event:
    known: dict[str, Any] = {"kind": "track", "name": "viewed", "properties": {"name": NAME}}
    context = {"traits": {"email": ADDRESS}}
    return Event(
        **HERE, id=uuid4(), received_at=NOON, occurred_at=NOON, profile_id=who, context=context, **known
    )


_ARRIVAL = """
    insert into inbox (workspace_id, id, received_at, kind, trusted, historical, occurred_at, name, {name},
        properties)
    values (:workspace_id, :id, now(), 'track', true, false, now(), 'viewed', :value, '{{}}')
"""


def found(postgres: Postgres, database: Database, secret: str) -> list[str]:
    """The tables in which anything of a database quotes this, as a text or within bytes."""
    seen = []
    with postgres.connect(database.name) as db:
        for table in sorted(metadata().tables):
            asked = f"select count(*) from {table} t where t::text ilike %s or t::text ilike %s"
            row = db.execute(
                psycopg.sql.SQL(asked),
                [f"%{secret}%", f"%{secret.encode().hex()}%"],
            ).fetchone()
            if row and row[0]:
                seen.append(table)
    return seen


async def test_nothing_but_the_hash_of_an_address_is_left_in_any_table(
    api: AsyncClient, sessions: Sessions, postgres: Postgres, database: Database
) -> None:
    ada = await somebody(api, sessions)
    before = {secret: found(postgres, database, secret) for secret in SECRETS}
    assert {"events", "inbox", "quarantine", "refusals", "messages", "idempotency_keys"} <= set(
        before[ADDRESS]
    )

    assert (await api.delete(f"{V1}/profiles/{ada}")).status_code == 204

    assert not any(found(postgres, database, secret) for secret in SECRETS)
    with postgres.connect(database.name) as db:
        kept = db.execute("select channel, address_hash, reason from suppressions").fetchall()
        counts = db.execute(
            "select (select count(*) from orders), (select count(*) from messages), "
            "(select count(*) from enrollments where outcome = 'erased'), "
            "(select count(*) from inbox where num_nonnulls(email, phone, user_id, anonymous_id) > 0)"
        ).fetchone()
    assert sorted(kept) == sorted(
        (channel, address_hash(address), "erased")
        for channel, address in (
            ("email", ADDRESS),
            ("email", OTHER),
            ("sms", PHONE),
            ("whatsapp", PHONE),
        )
    )
    assert counts == (1, 2, 1, 0)


async def test_somebody_else_keeps_everything(
    api: AsyncClient, sessions: Sessions, postgres: Postgres, database: Database
) -> None:
    """A user id that is short does not take along what only looks like it."""
    await somebody(api, sessions)
    bob = await created(await api.post(f"{V1}/profiles", json={"user_id": "1", "email": "bob@example.com"}))
    before = {secret: found(postgres, database, secret) for secret in SECRETS}

    assert (await api.delete(f"{V1}/profiles/{bob['id']}")).status_code == 204

    assert {secret: found(postgres, database, secret) for secret in SECRETS} == before


async def test_erasing_again_changes_nothing_and_is_in_the_audit_log(
    api: AsyncClient, sessions: Sessions
) -> None:
    ada = await somebody(api, sessions)
    for _ in range(2):
        assert (await api.delete(f"{V1}/profiles/{ada}")).status_code == 204

    lines = (await api.get(f"{V1}/audit-log")).json()["items"]

    assert [each["object_id"] for each in lines if each["action"] == "erase"] == [str(ada)] * 2


async def test_a_person_is_exported_with_everything(
    api: AsyncClient, sessions: Sessions, monkeypatch: Any
) -> None:
    ada = await somebody(api, sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        for n in range(5):
            event = _an_event(ada)
            event.occurred_at = NOON + timedelta(hours=n)
            db.add(event)
    for module in ("models.queries.profiles_exported.PAGE", "api.routes.profile_exports.PAGE"):
        monkeypatch.setattr(module, 2)

    answer = await api.get(f"{V1}/profiles/{ada}/export")

    assert answer.status_code == 200
    assert "attachment" in answer.headers["content-disposition"]
    told = json.loads(answer.content)
    assert told.keys() == profiles_exported.SECTIONS.keys()
    assert len(told["profiles"]) == 2
    assert len(told["events"]) == 7
    assert {each["value"] for each in told["identities"]} == {ADDRESS, OTHER, PHONE, USER, DEVICE}
    for section in ("consents", "topic_consents", "tags", "notes", "lists", "orders", "enrollments"):
        assert told[section], section
    assert [each["address"] for each in told["messages"]] == [ADDRESS]
    assert "workspace_id" not in answer.text
