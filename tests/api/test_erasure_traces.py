"""Names of an erased person in what others wrote: bodies that were refused, keys of orders, message ids."""

from typing import Any

import pytest
from httpx2 import AsyncClient
from sqlalchemy import text

from dev.postgres import Postgres
from domain.clock import SystemClock
from domain.profiles import IdentityKind
from domain.roles import KeyKind
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions, enter
from models.queries import profiles, traces
from tests.api.sending import a_key, refusals, served
from tests.api.support import V1, created
from tests.api.test_erasure import found
from tests.arrivals import arrival, pump, put
from tests.databases import Database

ADDRESS, PHONE, USER = "ada.lovelace@shop.example", "+491701234567", "4711"


async def rows(sessions: Sessions, query: str) -> list[Any]:
    async with sessions.engine() as db:
        await enter(db, DEFAULT_WORKSPACE)
        return [tuple(row) for row in await db.execute(text(query))]


async def erase(api: AsyncClient, sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        who = await profiles.find(db, IdentityKind.EMAIL, ADDRESS)
    assert (await api.delete(f"{V1}/profiles/{who}")).status_code == 204


async def test_a_change_of_an_order_that_waits_under_their_address_goes_too(
    api: AsyncClient, sessions: Sessions, postgres: Postgres, database: Database
) -> None:
    order = {"email": ADDRESS, "total": "11", "ordered_on": "2026-01-02"}
    other = {"email": f"not.{ADDRESS}", "total": "12", "ordered_on": "2026-01-02"}
    keys = [(await created(await api.post(f"{V1}/orders", json=each)))["key"] for each in (order, other)]
    await pump(sessions, SystemClock())
    for key in keys:
        at = f"{V1}/orders/" + key.replace("#", "%23")
        assert (await api.patch(at, json={"refunded": "2"})).is_success

    await erase(api, sessions)

    assert await rows(sessions, "select properties ->> 'key' from inbox") == [(keys[1],)]
    await pump(sessions, SystemClock())
    assert await rows(sessions, "select count(*) from quarantine") == [(0,)]
    assert await rows(sessions, f"select refunded from orders where key = '{keys[1]}'") == [(2,)]


@pytest.mark.parametrize(
    "body",
    [
        '{"userId": 4711, "name": ""',
        '{"user_id":4711.0, "name": ""',
        '{"userId": " 4711 ", "name": ""',
        r'{"userId": "\u0034\u0037\u0031\u0031", "name": ""',
        r'{"email": "\u0061da.lovelace@shop.example", "name": ""',
        r'{"email": "ADA.Lovelace\u0040shop.example", "name": ""',
        '{"phone": "+49 (170) 123-4567", "name": ""',
        '{"userId": "u", "messageId": "Ada.Lovelace@shop.example:1", "name": ""',
        '{"userId": "u", "messageId": 4711, "name": ""',
    ],
)
async def test_a_refused_body_goes_however_it_spelt_their_name(
    api: AsyncClient, sessions: Sessions, body: str
) -> None:
    ada = {"email": ADDRESS, "phone": PHONE, "user_id": USER}
    await created(await api.post(f"{V1}/profiles", json=ada))
    others = ['{"userId": 47110, "name": ""}', '{"userId": "u", "name": "", "properties": {"total": 4711}}']
    async with served(sessions, await a_key(sessions, KeyKind.SECRET)) as (site, _, _):
        for each in (body + ', "properties": {"home": "12 Secret Street"}}', *others):
            assert (await site.post("/track", content=each.encode())).status_code == 422
    assert len(await refusals(sessions)) == 3

    await erase(api, sessions)

    assert [body for (body,) in await refusals(sessions, "body")] == others


async def test_a_body_is_not_kept_with_half_a_name_at_its_end(sessions: Sessions) -> None:
    async with served(sessions, await a_key(sessions, KeyKind.SECRET)) as (site, _, _):
        filled = '{"name": "' + 1970 * " " + f'", "email": "{ADDRESS}"}}'
        assert (await site.post("/track", content=filled.encode())).status_code == 422
    [(body,)] = await refusals(sessions, "body")
    assert body.endswith('"email": ')


async def test_message_ids_that_hold_an_address_are_forgotten(
    api: AsyncClient, sessions: Sessions, postgres: Postgres, database: Database
) -> None:
    await put(
        sessions,
        arrival("identify", email=ADDRESS, message_id=f"{ADDRESS}:signed up"),
        arrival("identify", user_id="u9", email=ADDRESS, trusted=False, message_id=f"{ADDRESS}:2"),
        arrival(user_id="u9", message_id="another"),
    )
    await pump(sessions, SystemClock())

    await erase(api, sessions)

    [(seen,)] = await rows(sessions, "select message_id from seen")
    assert seen.endswith("another")  # By which kind of key it came stands before it.
    assert ("another",) in await rows(sessions, "select message_id from events")
    assert set(found(postgres, database, ADDRESS)) <= {"events"}  # Of somebody else.


@pytest.mark.parametrize("name", ['a"b\\c', "x.*y", "(", "$1^", "ü|", "[a-z]+", "\\d", "*", "1.5", "-3"])
async def test_a_name_is_no_pattern(sessions: Sessions, name: str) -> None:
    kept = ['{"userId": "abc"}', '{"userId": "x--y"}', '{"total": 1.5}', '{"total": -3}', '{"userId": 145}']
    async with sessions(DEFAULT_WORKSPACE) as db:
        for body in (*kept, f'{{"userId": {_quoted(name)}}}'):
            await db.execute(
                text(
                    "insert into refusals (workspace_id, at, stage, pointer, reason, body) "
                    "values (:workspace, now(), 'request', '', 'x', :body)"
                ),
                {"workspace": DEFAULT_WORKSPACE, "body": body},
            )
        await traces.forget(db, [(IdentityKind.USER_ID, name), (IdentityKind.EMAIL, f"{name}@x.example")])
    assert [body for (body,) in await refusals(sessions, "body")] == kept


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
