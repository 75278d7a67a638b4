"""Lists and topics by HTTP."""

from typing import Any
from uuid import uuid4

import pytest
from httpx2 import AsyncClient

from models.base import Sessions
from tests.api.support import V1, a_profile, created, refusal


async def a_list(api: AsyncClient, **more: Any) -> dict[str, Any]:
    return await created(await api.post(f"{V1}/lists", json={"name": "Newsletter", **more}))


async def on(api: AsyncClient, list_id: str, **params: Any) -> list[str]:
    answer = await created(await api.get(f"{V1}/lists/{list_id}/members", params=params))
    return [each["email"] for each in answer["items"]]


@pytest.mark.parametrize("kind", ["lists", "topics"])
async def test_they_are_made_listed_changed_and_deleted(api: AsyncClient, kind: str) -> None:
    made = await created(await api.post(f"{V1}/{kind}", json={"name": "News", "description": "All of it."}))
    at = f"{V1}/{kind}/{made['id']}"

    assert (await api.get(f"{V1}/{kind}")).json()["items"] == [made]
    read = await api.get(at)
    assert read.json() == made
    changed = await api.patch(at, json={"description": None}, headers={"If-Match": read.headers["etag"]})
    assert (changed.status_code, changed.json()["description"]) == (200, None)
    refusal(await api.patch(at, json={"name": "X"}, headers={"If-Match": read.headers["etag"]}), 412)
    refusal(await api.patch(at, json={}), 422)
    refusal(await api.post(f"{V1}/{kind}", json={"name": "News"}), 409)
    other = await created(await api.post(f"{V1}/{kind}", json={"name": "Others"}))
    refusal(await api.patch(f"{V1}/{kind}/{other['id']}", json={"name": "News"}), 409)
    assert (await api.delete(at)).status_code == 204
    refusal(await api.get(at), 404)


async def test_people_are_put_on_by_id_or_email_and_taken_off(api: AsyncClient, sessions: Sessions) -> None:
    ada = await a_profile(sessions, "ada@example.com")
    await a_profile(sessions, "bob@example.com")
    news = await a_list(api)
    at = f"{V1}/lists/{news['id']}/members"
    stranger = str(uuid4())
    everybody = {"profiles": [str(ada), "Bob@example.com", "nobody@example.com", stranger]}

    added = await created(await api.post(at, json=everybody))
    again = await created(await api.post(at, json=everybody))

    assert added == {"changed": 2, "unknown": ["nobody@example.com", stranger]}
    assert again["changed"] == 0
    assert await on(api, news["id"]) == ["bob@example.com", "ada@example.com"]
    found = await api.get(f"{V1}/profiles", params={"list_id": news["id"], "email": "ada@example.com"})
    assert [each["id"] for each in found.json()["items"]] == [str(ada)]

    assert (await api.delete(f"{at}/{ada}")).status_code == 204
    removed = await created(await api.post(f"{at}/remove", json={"profiles": ["bob@example.com"]}))
    assert removed == {"changed": 1, "unknown": []}
    assert await on(api, news["id"]) == []
    assert await on(api, news["id"], state="left") == ["bob@example.com", "ada@example.com"]


async def test_who_was_merged_is_on_the_list_as_the_one_who_stays(
    api: AsyncClient, sessions: Sessions
) -> None:
    ada, alias = await a_profile(sessions), await a_profile(sessions, "ada@work.example")
    await created(await api.post(f"{V1}/profiles/{alias}/merge", json={"into": str(ada)}))
    news = await a_list(api)

    both = {"profiles": [str(ada), str(alias)]}
    added = await created(await api.post(f"{V1}/lists/{news['id']}/members", json=both))

    assert added["changed"] == 1
    assert await on(api, news["id"]) == ["ada@example.com"]


async def test_a_list_that_is_deleted_takes_nobody_along(api: AsyncClient, sessions: Sessions) -> None:
    ada = await a_profile(sessions)
    news = await a_list(api)
    await created(await api.post(f"{V1}/lists/{news['id']}/members", json={"profiles": [str(ada)]}))

    assert (await api.delete(f"{V1}/lists/{news['id']}")).status_code == 204

    assert (await api.get(f"{V1}/profiles/{ada}")).status_code == 200


@pytest.mark.parametrize("kind", ["list", "topic"])
async def test_what_segments_ask_about_is_kept(api: AsyncClient, kind: str) -> None:
    its_id = (await created(await api.post(f"{V1}/{kind}s", json={"name": "Jazz"})))["id"]
    other = (await created(await api.post(f"{V1}/{kind}s", json={"name": "Rock"})))["id"]
    rule = {"all": [{"not": {"kind": kind, f"{kind}_id": its_id}}]}
    for name in ("Fans", "All others"):
        segment = await created(await api.post(f"{V1}/segments", json={"name": name, "rule": rule}))

    told = refusal(await api.delete(f"{V1}/{kind}s/{its_id}"), 409)["detail"]

    assert told == (
        f'The segment "All others" and the segment "Fans" ask about this {kind}; change or delete them first.'
    )
    await created(await api.patch(f"{V1}/segments/{segment['id']}", json={"rule": {"all": []}}))
    told = refusal(await api.delete(f"{V1}/{kind}s/{its_id}"), 409)["detail"]
    assert told == f'The segment "Fans" asks about this {kind}; change or delete the segment first.'
    assert (await api.delete(f"{V1}/{kind}s/{other}")).status_code == 204


async def test_what_is_not_there_is_not_found(api: AsyncClient) -> None:
    nowhere = f"{V1}/lists/{uuid4()}"
    refusal(await api.get(f"{nowhere}/members"), 404)
    refusal(await api.post(f"{nowhere}/members", json={"profiles": ["ada@example.com"]}), 404)
    refusal(await api.delete(f"{nowhere}/members/{uuid4()}"), 404)
    refusal(await api.delete(nowhere), 404)
    refusal(await api.get(f"{V1}/topics/{uuid4()}"), 404)
