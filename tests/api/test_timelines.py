"""A person's timeline, notes, tags and consents by HTTP."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from httpx2 import AsyncClient
from sqlalchemy import text

from domain.profiles import ConsentSource, ConsentState, Purpose
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.events import Event
from models.queries import profiles
from models.queries.profiles_merged import merge
from tests.api.support import V1, a_profile, created, refusal
from tests.people import HERE, NOON, a_flow, a_journey, a_message, a_person, an_order


async def told(api: AsyncClient, who: UUID, **params: Any) -> list[tuple[str, Any]]:
    answer = await created(await api.get(f"{V1}/profiles/{who}/timeline", params=params))
    return [(each["kind"], each["at"]) for each in answer["items"]]


async def an_event(sessions: Sessions, who: UUID, name: str, hours: int) -> None:
    at = NOON + timedelta(hours=hours)
    async with sessions(DEFAULT_WORKSPACE) as db:
        db.add(
            Event(
                **HERE,
                id=uuid4(),
                received_at=NOON + timedelta(days=9),
                profile_id=who,
                kind="track",
                name=name,
                occurred_at=at,
                properties={"page": "/pricing"},
            )
        )


@pytest.fixture
async def ada(sessions: Sessions) -> UUID:
    """Somebody to whom one thing of each kind happened; the event under a profile that became hers."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        ada = await a_person(db, "ada@example.com", {"email": "granted"})
        alias = await a_person(db, "ada@work.example", {})
        await an_order(db, ada, 30, NOON - timedelta(days=3))
        await a_journey(db, await a_flow(db), ada, entered_at=NOON - timedelta(days=2))
        message = await a_message(db, ada, "ada@example.com")
        at = {"id": message, "at": NOON - timedelta(days=1)}
        await db.execute(text("update messages set created_at = :at, opened_at = :at where id = :id"), at)
    await an_event(sessions, alias, "page viewed", -100)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await merge(db, alias, ada, NOON)
    return ada


async def test_everything_that_happened_is_in_one_list_the_newest_first(api: AsyncClient, ada: UUID) -> None:
    await created(await api.post(f"{V1}/profiles/{ada}/notes", json={"text": "Called."}))

    kinds = [kind for kind, _ in await told(api, ada)]

    assert kinds == ["note", "consent", "message", "enrollment", "order", "event"]
    times = [at for _, at in await told(api, ada)]
    assert times == sorted(times, reverse=True)


async def test_a_message_tells_what_became_of_it(api: AsyncClient, ada: UUID) -> None:
    answer = await created(await api.get(f"{V1}/profiles/{ada}/timeline", params={"kind": "message"}))

    [message] = answer["items"]
    assert message["details"]["state"] == "accepted"
    assert message["details"]["opened_at"]


async def test_money_is_a_text_with_two_decimals_at_least(api: AsyncClient, ada: UUID) -> None:
    answer = await created(await api.get(f"{V1}/profiles/{ada}/timeline", params={"kind": "order"}))
    exported = await created(await api.get(f"{V1}/profiles/{ada}/export"))

    [order] = answer["items"]
    assert (order["details"]["total"], order["details"]["refunded"]) == ("30.00", "0.00")
    assert [(each["total"], each["refunded"]) for each in exported["orders"]] == [("30.00", "0.00")]


async def test_kinds_can_be_picked_and_pages_go_on(api: AsyncClient, sessions: Sessions, ada: UUID) -> None:
    for hours in range(1, 6):
        await an_event(sessions, ada, "clicked", hours)

    assert {kind for kind, _ in await told(api, ada, kind=["order", "event"])} == {"order", "event"}
    seen: list[str] = []
    cursor = None
    while True:
        params = {"limit": 4} | ({"cursor": cursor} if cursor else {})
        page = (await api.get(f"{V1}/profiles/{ada}/timeline", params=params)).json()
        seen += [each["id"] for each in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 10


async def test_what_is_no_cursor_or_kind_is_refused(api: AsyncClient, ada: UUID) -> None:
    for params in ({"cursor": "x"}, {"cursor": "é"}, {"cursor": "f" * 32}, {"kind": "star sign"}):
        refusal(await api.get(f"{V1}/profiles/{ada}/timeline", params=params), 422)
    refusal(await api.get(f"{V1}/profiles/{uuid4()}/timeline"), 404)


async def test_notes_are_written_listed_and_deleted(api: AsyncClient, sessions: Sessions) -> None:
    ada = await a_profile(sessions)
    first = await created(await api.post(f"{V1}/profiles/{ada}/notes", json={"text": " Called. "}))
    await created(await api.post(f"{V1}/profiles/{ada}/notes", json={"text": "Wrote."}))

    listed = (await api.get(f"{V1}/profiles/{ada}/notes")).json()["items"]

    assert [each["text"] for each in listed] == ["Wrote.", "Called."]
    assert listed[0]["author"]
    assert (await api.delete(f"{V1}/profiles/{ada}/notes/{first['id']}")).status_code == 204
    refusal(await api.delete(f"{V1}/profiles/{ada}/notes/{first['id']}"), 404)
    assert len((await api.get(f"{V1}/profiles/{ada}/notes")).json()["items"]) == 1


async def test_tags_are_put_on_found_and_taken_off(api: AsyncClient, sessions: Sessions) -> None:
    ada = await a_profile(sessions)

    for _ in range(2):
        assert (await api.put(f"{V1}/profiles/{ada}/tags/early bird")).status_code == 204

    assert (await api.get(f"{V1}/profiles/{ada}")).json()["tags"] == ["early bird"]
    found = await api.get(f"{V1}/profiles", params={"tag": "early bird"})
    assert [each["id"] for each in found.json()["items"]] == [str(ada)]
    assert (await api.delete(f"{V1}/profiles/{ada}/tags/early bird")).status_code == 204
    refusal(await api.delete(f"{V1}/profiles/{ada}/tags/early bird"), 404)
    refusal(await api.put(f"{V1}/profiles/{ada}/tags/{'x' * 101}"), 422)
    refusal(await api.put(f"{V1}/profiles/{uuid4()}/tags/x"), 404)


async def test_consents_are_kept_with_their_history(api: AsyncClient, sessions: Sessions) -> None:
    ada = await a_profile(sessions)
    topic = await created(await api.post(f"{V1}/topics", json={"name": "New arrivals"}))
    at = f"{V1}/profiles/{ada}/consents"

    denied = await created(await api.post(at, json={"purpose": "email", "state": "denied"}))
    again = await created(await api.post(at, json={"purpose": "email", "state": "denied"}))
    chosen = await created(
        await api.post(at, json={"topic_id": topic["id"], "state": "granted", "source": "checkout"})
    )

    assert denied == again
    assert (chosen["topic_id"], chosen["purpose"], chosen["source"]) == (topic["id"], "email", "checkout")
    history = (await api.get(at)).json()["items"]
    assert [(each["topic_id"] is not None, each["state"], each["ended_at"] is None) for each in history] == [
        (True, "granted", True),
        (False, "denied", True),
        (False, "granted", True),
        (False, "granted", False),
    ]
    assert {each["purpose"] for each in history} == {"email", "tracking"}


async def test_over_a_denial_a_grant_takes_its_source_or_the_person(
    api: AsyncClient, sessions: Sessions
) -> None:
    ada = await a_profile(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await profiles.unsubscribe_profile(db, ada, NOON, ConsentSource.UNSUBSCRIBE_PAGE)
    at = f"{V1}/profiles/{ada}/consents"

    told = refusal(await api.post(at, json={"purpose": "email", "state": "granted", "source": "shop"}), 409)
    listed = (await api.get(f"{V1}/suppressions", params={"address": "ADA@example.com"})).json()["items"]
    taken = await created(
        await api.post(at, json={"purpose": "email", "state": "granted", "source": "person"})
    )
    left = (await api.get(f"{V1}/suppressions")).json()["items"]

    assert "unsubscribe page" in told["detail"]
    assert [each["reason"] for each in listed] == ["unsubscribed"]
    assert taken["state"] == "granted"
    assert left == []


async def test_a_consent_names_one_thing_and_an_honest_source(api: AsyncClient, sessions: Sessions) -> None:
    ada = await a_profile(sessions)
    for body in (
        {"state": "granted"},
        {"state": "granted", "purpose": "email", "topic_id": str(uuid4())},
        {"state": "granted", "topic_id": str(uuid4())},
        {"state": "granted", "purpose": "email", "source": "import"},
        {"state": "perhaps", "purpose": "email"},
    ):
        refusal(await api.post(f"{V1}/profiles/{ada}/consents", json=body), 422)


async def test_an_own_word_about_sms_reaches_the_phone_number(api: AsyncClient, sessions: Sessions) -> None:
    body = {"phone": "+491701234567", "consents": {"sms": "granted"}}
    ada = await created(await api.post(f"{V1}/profiles", json=body))
    async with sessions(DEFAULT_WORKSPACE) as db:
        await profiles.unsubscribe_profile(db, UUID(ada["id"]), NOON, ConsentSource.PERSON, "sms")

    [listed] = (await api.get(f"{V1}/suppressions", params={"channel": "sms"})).json()["items"]
    async with sessions(DEFAULT_WORKSPACE) as db:
        own = ConsentSource.PERSON
        await profiles.consent(db, UUID(ada["id"]), Purpose.SMS, ConsentState.GRANTED, own, NOON)

    assert listed["address"] == "+491701234567"
    assert (await api.get(f"{V1}/suppressions")).json()["items"] == []


async def test_an_address_is_suppressed_by_hand_and_let_go_again(api: AsyncClient) -> None:
    at = f"{V1}/suppressions"
    body = {"channel": "email", "address": "Never@Example.com"}

    made = await created(await api.post(at, json=body))
    again = await created(await api.post(at, json=body | {"reason": "complained"}))

    assert (made["address"], made["reason"]) == ("never@example.com", "manual")
    assert again["id"] == made["id"]
    assert (await api.delete(f"{at}/{made['id']}")).status_code == 204
    refusal(await api.delete(f"{at}/{made['id']}"), 404)
    assert (await api.get(at)).json()["items"] == []
    refusal(await api.post(at, json=body | {"address": "nobody"}), 422)


async def test_neither_an_unsubscribe_nor_an_erasure_is_taken_back_by_others(
    api: AsyncClient, sessions: Sessions
) -> None:
    ada, bob = await a_profile(sessions), await a_profile(sessions, "bob@example.com")
    async with sessions(DEFAULT_WORKSPACE) as db:
        await profiles.unsubscribe_profile(db, ada, NOON, ConsentSource.PERSON)
    assert (await api.delete(f"{V1}/profiles/{bob}")).status_code == 204

    listed = (await api.get(f"{V1}/suppressions")).json()["items"]

    reasons = {each["reason"]: each["id"] for each in listed}
    refusal(await api.delete(f"{V1}/suppressions/{reasons['unsubscribed']}"), 409)
    refusal(await api.delete(f"{V1}/suppressions/{reasons['erased']}"), 409)
    erased = (await api.get(f"{V1}/suppressions", params={"address": "bob@example.com"})).json()["items"]
    assert [(each["reason"], each["address"]) for each in erased] == [("erased", None)]
