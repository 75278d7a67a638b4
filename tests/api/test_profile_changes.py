"""Profiles that are made and changed: by any name, one by one and by the thousand."""

from typing import Any
from uuid import uuid4

from httpx2 import AsyncClient, Response
from sqlalchemy import text

from domain.changes import DEEPEST
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from tests.api.support import V1, a_profile, created, refusal


async def post(api: AsyncClient, **body: Any) -> Response:
    return await api.post(f"{V1}/profiles", json=body)


async def patch(api: AsyncClient, id_: Any, **body: Any) -> Response:
    return await api.patch(f"{V1}/profiles/{id_}", json=body)


async def test_somebody_new_is_created_with_all_that_is_said_of_them(api: AsyncClient) -> None:
    answer = await post(
        api,
        email="Ada@Example.com",
        phone="+49 170 1234567",
        user_id="c1",
        attributes={"first_name": "Ada", "none": None},
        time_zone="Europe/Vienna",
        locale="de_AT",
        country="at",
        consents={"email": "granted"},
        consent_source="checkout",
    )

    assert answer.status_code == 201
    assert answer.headers["etag"]
    ada = answer.json()
    assert ada["email"] == "ada@example.com"
    assert [(each["kind"], each["value"]) for each in ada["identities"]] == [
        ("email", "ada@example.com"),
        ("phone", "+491701234567"),
        ("user_id", "c1"),
    ]
    places = {"time_zone": "Europe/Vienna", "locale": "de-AT", "country": "AT"}
    assert ada["attributes"] == {"first_name": "Ada", **places}
    assert ada["consents"] == {"email": "granted"}
    assert (ada["time_zone"], ada["locale"], ada["country"]) == ("Europe/Vienna", "de-AT", "AT")
    assert (await api.get(f"{V1}/profiles/{ada['id']}")).json() == ada


async def test_who_has_one_of_the_names_is_changed_and_gets_the_others(api: AsyncClient) -> None:
    ada = await created(await post(api, email="ada@example.com", attributes={"a": 1, "b": 2}))

    answer = await post(api, email="ADA@example.com", user_id="c1", attributes={"b": None, "c": 3})

    assert answer.status_code == 200
    assert answer.json()["id"] == ada["id"]
    assert answer.json()["attributes"] == {"a": 1, "c": 3}
    assert {each["value"] for each in answer.json()["identities"]} == {"ada@example.com", "c1"}


async def test_a_new_address_becomes_the_one_that_is_written_to(api: AsyncClient) -> None:
    await post(api, user_id="c1", email="old@example.com")

    ada = (await post(api, user_id="c1", email="new@example.com")).json()

    assert ada["email"] == "new@example.com"
    assert {each["value"]: each["is_primary"] for each in ada["identities"] if each["kind"] == "email"} == {
        "old@example.com": False,
        "new@example.com": True,
    }
    back = (await post(api, user_id="c1", email="old@example.com")).json()
    assert back["email"] == "old@example.com"


async def test_names_of_two_people_are_refused_with_the_way_out(api: AsyncClient) -> None:
    ada = (await post(api, email="ada@example.com")).json()
    await post(api, user_id="c2")

    told = refusal(await post(api, email="ada@example.com", user_id="c2"), 409)

    assert ada["id"] in told["detail"]
    assert "merge" in told["detail"]
    assert told["errors"][0]["pointer"] == "/user_id"


async def test_a_person_needs_a_name(api: AsyncClient) -> None:
    assert "email" in refusal(await post(api, attributes={"a": 1}), 422)["detail"]
    assert "email" in refusal(await post(api, email=None), 422)["detail"]


async def test_what_is_no_name_or_no_place_is_refused_at_its_field(api: AsyncClient) -> None:
    for field, value in (
        ("email", "ada"),
        ("phone", "0170 1234567"),
        ("phone", "+49 1"),
        ("user_id", " "),
        ("time_zone", "Mars"),
        ("locale", "german please"),
        ("country", "Germany"),
        ("consent_source", "one-click unsubscribe"),
    ):
        told = refusal(await post(api, **{"user_id": "c1", field: value}), 422)
        assert told["errors"][0]["pointer"] == f"/{field}", value


async def test_attributes_are_set_removed_counted_and_appended_to(api: AsyncClient) -> None:
    ada = (await post(api, user_id="c1", attributes={"n": 1, "gone": 1, "list": ["a"]})).json()

    answer = await patch(
        api,
        ada["id"],
        attributes={
            "n": {"$inc": 2},
            "price": {"$inc": 0.1},
            "gone": None,
            "list": {"$append": "b"},
            "new": {"$append": 1},
            "plain": {"a": 1},
        },
    )
    again = await patch(api, ada["id"], attributes={"price": {"$inc": 0.2}})

    assert again.json()["attributes"] == {
        "n": 3,
        "price": 0.3,
        "list": ["a", "b"],
        "new": [1],
        "plain": {"a": 1},
    }
    assert answer.status_code == 200


async def test_an_attribute_that_breaks_a_rule_is_named(api: AsyncClient) -> None:
    ada = (await post(api, user_id="c1", attributes={"word": "x"})).json()
    for attributes, pointer in (
        ({"word": {"$inc": 1}}, "/attributes/word"),
        ({"word": {"$append": 1}}, "/attributes/word"),
        ({"n": {"$inc": "1"}}, "/attributes/n"),
        ({"n": {"$inc": 2**63}}, "/attributes/n"),
        ({"n": 2**80}, "/attributes/n"),
        ({"a/b": {"$set": 1}}, "/attributes/a~1b"),
        ({"": 1}, "/attributes"),
        ({"long": "x" * 100_001}, "/attributes"),
        ({"nul": "a\0b"}, "/attributes/nul"),
    ):
        told = refusal(await patch(api, ada["id"], attributes=attributes), 422)
        assert told["errors"][0]["pointer"] == pointer
    body = b'{"attributes": {"n": NaN, "deep": ' + b"[" * 20 + b"]" * 20 + b"}}"
    json = {"Content-Type": "application/json"}
    refusal(await api.patch(f"{V1}/profiles/{ada['id']}", content=body, headers=json), 422)
    half = b'{"attributes": {"half": "\\ud800"}}'
    refusal(await api.patch(f"{V1}/profiles/{ada['id']}", content=half, headers=json), 422)
    assert (await api.get(f"{V1}/profiles/{ada['id']}")).json() == ada


async def test_an_attribute_is_nested_as_deeply_as_a_files_also_when_added_to(
    api: AsyncClient,
) -> None:
    def nested(levels: int) -> Any:
        return 1 if levels == 0 else [nested(levels - 1)]

    ada = (await post(api, email="ada@example.com", attributes={"tree": nested(DEEPEST)})).json()

    assert ada["attributes"] == {"tree": nested(DEEPEST)}
    for change in (nested(DEEPEST + 1), {"a": nested(DEEPEST)}, {"$append": nested(DEEPEST)}):
        told = refusal(await patch(api, ada["id"], attributes={"tree": change}), 422)
        assert told["errors"][0]["pointer"] == "/attributes/tree"
        assert "8 levels" in told["detail"]
    appended = await patch(api, ada["id"], attributes={"tree": {"$append": nested(DEEPEST - 1)}})
    assert appended.status_code == 200


async def test_a_null_takes_names_and_places_away(api: AsyncClient) -> None:
    ada = (
        await post(api, email="ada@example.com", user_id="c1", time_zone="Europe/Vienna", country="AT")
    ).json()

    changed = (await patch(api, ada["id"], email=None, time_zone=None)).json()

    assert (changed["email"], changed["time_zone"], changed["country"]) == (None, None, "AT")
    assert [each["value"] for each in changed["identities"]] == ["c1"]
    assert (await post(api, email="ada@example.com")).status_code == 201


async def test_where_somebody_is_is_an_attribute_too(api: AsyncClient) -> None:
    ada = (await post(api, user_id="c1", country="at", locale="de_AT")).json()
    assert ada["attributes"] == {"country": "AT", "locale": "de-AT"}

    moved = (await patch(api, ada["id"], country="DE", locale=None)).json()

    assert (moved["country"], moved["locale"], moved["attributes"]) == ("DE", None, {"country": "DE"})
    batch = {"profiles": [{"user_id": "c1", "time_zone": "Europe/Berlin"}]}
    await created(await api.post(f"{V1}/profiles/batch", json=batch))
    found = (await api.get(f"{V1}/profiles/{ada['id']}")).json()
    assert found["attributes"] == {"country": "DE", "time_zone": "Europe/Berlin"}


async def test_an_attribute_says_where_somebody_is_if_it_can_be_read_so(api: AsyncClient) -> None:
    said = {"country": "at", "locale": "de_AT", "timezone": "Europe/Vienna"}
    ada = (await post(api, user_id="c1", attributes=said)).json()
    assert (ada["country"], ada["locale"], ada["time_zone"]) == ("AT", "de-AT", "Europe/Vienna")
    assert ada["attributes"] == said

    unread = (await patch(api, ada["id"], attributes={"country": "Germany", "locale": None})).json()
    assert (unread["country"], unread["locale"]) == ("AT", "de-AT")
    both = (await patch(api, ada["id"], attributes={"country": "CH"}, country="DE")).json()
    assert (both["country"], both["attributes"]["country"]) == ("DE", "DE")


async def test_a_name_of_somebody_else_is_not_taken(api: AsyncClient, sessions: Sessions) -> None:
    ada = await a_profile(sessions, "ada@example.com")
    await a_profile(sessions, "bob@example.com")

    told = refusal(await patch(api, ada, email="bob@example.com"), 409)

    assert told["errors"][0]["pointer"] == "/email"


async def test_who_edits_what_was_changed_meanwhile_is_told(api: AsyncClient, sessions: Sessions) -> None:
    ada = await a_profile(sessions)
    read = await api.get(f"{V1}/profiles/{ada}")
    mine = {"If-Match": read.headers["etag"]}

    first = await api.patch(f"{V1}/profiles/{ada}", json={"country": "AT"}, headers=mine)
    second = await api.patch(f"{V1}/profiles/{ada}", json={"country": "DE"}, headers=mine)

    assert first.status_code == 200
    refusal(second, 412)


async def test_the_owner_is_a_member(api: AsyncClient, sessions: Sessions) -> None:
    ada = await a_profile(sessions)
    [member] = (await api.get(f"{V1}/members")).json()["items"]

    refusal(await patch(api, ada, owner_id=str(uuid4())), 422)
    changed = (await patch(api, ada, owner_id=member["user_id"])).json()

    assert changed["owner_id"] == member["user_id"]
    found = await api.get(f"{V1}/profiles", params={"owner_id": member["user_id"]})
    assert [each["id"] for each in found.json()["items"]] == [str(ada)]


async def test_no_list_undoes_an_unsubscribe_but_the_person_does(
    api: AsyncClient, sessions: Sessions
) -> None:
    await post(api, email="ada@example.com", consents={"email": "denied"}, consent_source="person")

    no = await post(api, email="ada@example.com", consents={"email": "granted"}, consent_source="shop")
    yes = await post(api, email="ada@example.com", consents={"email": "granted"}, consent_source="person")

    assert no.json()["consents"] == {"email": "denied"}
    assert yes.json()["consents"] == {"email": "granted"}
    async with sessions(DEFAULT_WORKSPACE) as db:
        history = (await db.execute(text("select state, source from consents order by id"))).all()
    assert [tuple(row) for row in history] == [("denied", "person"), ("granted", "person")]


async def test_a_batch_answers_for_each_and_refuses_no_neighbour(api: AsyncClient) -> None:
    await post(api, email="ada@example.com", attributes={"n": 1})
    await post(api, user_id="c9")

    answer = await api.post(
        f"{V1}/profiles/batch",
        json={
            "profiles": [
                {"email": "ada@example.com", "attributes": {"n": {"$inc": 1}}},
                {"email": "new@example.com"},
                {"email": "no address"},
                {"email": "new@example.com", "user_id": "c2"},
                {"email": "ada@example.com", "user_id": "c9"},
                {"email": "ada@example.com"},
                {"attributes": {}},
                {"user_id": "c2", "attributes": {"bad": {"$inc": "x"}}},
                {"user_id": "c2", "colour": "red"},
                {"user_id": "c2", "owner_id": str(uuid4())},
            ]
        },
    )

    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [each["index"] for each in results] == list(range(10))
    assert [(each["outcome"], each["pointer"]) for each in results] == [
        ("updated", None),
        ("created", None),
        ("refused", "/email"),
        ("updated", None),
        ("refused", "/user_id"),
        ("unchanged", None),
        ("refused", ""),
        ("refused", "/attributes/bad"),
        ("refused", "/colour"),
        ("refused", "/owner_id"),
    ]
    assert results[1]["profile_id"] == results[3]["profile_id"]
    assert all(each["reason"] for each in results if each["outcome"] == "refused")


async def test_a_thousand_people_are_one_request(api: AsyncClient) -> None:
    many = [{"email": f"p{n}@example.com", "user_id": f"c{n}", "attributes": {"n": n}} for n in range(1000)]

    answer = await api.post(f"{V1}/profiles/batch", json={"profiles": many})
    again = await api.post(f"{V1}/profiles/batch", json={"profiles": many})
    more = await api.post(f"{V1}/profiles/batch", json={"profiles": [*many, many[0]]})

    assert {each["outcome"] for each in answer.json()["results"]} == {"created"}
    assert {each["outcome"] for each in again.json()["results"]} == {"unchanged"}
    refusal(more, 422)


async def test_what_is_written_is_catalogued_and_kept_where_it_is_hot(
    api: AsyncClient, sessions: Sessions
) -> None:
    await post(api, user_id="c1", attributes={"plan": "pro", "n": {"$inc": 2}})
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update attributes set hot = true"))

    await post(api, user_id="c1", attributes={"plan": "free"})

    async with sessions(DEFAULT_WORKSPACE) as db:
        found = (await db.execute(text("select name, type, values from attributes order by 1"))).all()
        kept = (await db.execute(text("select attribute, text, number from profile_values order by 1"))).all()
    assert [tuple(row) for row in found] == [("n", "number", 1), ("plan", "string", 2)]
    assert [tuple(row) for row in kept] == [("n", None, 2.0), ("plan", "free", None)]


async def test_two_profiles_of_one_person_are_merged_by_hand(api: AsyncClient, sessions: Sessions) -> None:
    ada = await a_profile(sessions, "ada@example.com", plan="pro")
    other = await a_profile(sessions, "ada@work.example", plan="free", job="poet")

    answer = await api.post(f"{V1}/profiles/{other}/merge", json={"into": str(ada)})

    assert answer.status_code == 200
    assert answer.json()["attributes"] == {"plan": "pro", "job": "poet"}
    assert (await api.get(f"{V1}/profiles/{other}")).json()["id"] == str(ada)
    told = refusal(await api.post(f"{V1}/profiles/{other}/merge", json={"into": str(ada)}), 409)
    assert "one person already" in told["detail"]
    refusal(await api.post(f"{V1}/profiles/{other}/merge", json={"into": str(uuid4())}), 422)
    refusal(await api.post(f"{V1}/profiles/{uuid4()}/merge", json={"into": str(ada)}), 404)


async def test_nobody_is_merged_into_themselves(api: AsyncClient, sessions: Sessions) -> None:
    ada = await a_profile(sessions)
    told = refusal(await api.post(f"{V1}/profiles/{ada}/merge", json={"into": str(ada)}), 409)
    assert told["errors"][0]["pointer"] == "/into"


async def test_the_last_name_of_a_person_is_not_taken(api: AsyncClient) -> None:
    ada = (await post(api, email="ada@example.com", user_id="c1")).json()["id"]

    told = refusal(await patch(api, ada, email=None, user_id=None), 422)
    assert told["errors"][0]["pointer"] == "/email"
    assert "DELETE" in told["detail"]
    assert (await patch(api, ada, email=None, phone=None)).status_code == 200
    assert refusal(await patch(api, ada, user_id=None), 422)["errors"][0]["pointer"] == "/user_id"
    answer = await patch(api, ada, user_id=None, email="ada@work.example")
    assert [each["value"] for each in answer.json()["identities"]] == ["ada@work.example"]
    assert (await patch(api, ada, phone=None, country="AT")).status_code == 200


async def test_what_was_erased_is_not_written_to(api: AsyncClient, sessions: Sessions) -> None:
    ada = await a_profile(sessions)

    assert (await api.delete(f"{V1}/profiles/{ada}")).status_code == 204

    refusal(await patch(api, ada, country="AT"), 409)
    assert (await api.get(f"{V1}/profiles")).json()["items"] == []
    assert (await api.get(f"{V1}/profiles/{ada}")).json()["erased_at"]
    assert (await api.delete(f"{V1}/profiles/{ada}")).status_code == 204
