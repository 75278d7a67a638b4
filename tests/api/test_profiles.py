"""Profiles, listed and one by one."""

from httpx2 import AsyncClient
from sqlalchemy import text

from models.base import Sessions
from tests.api.support import V1, a_profile


async def test_the_list_shows_each_profile_as_it_is_shown_alone(api: AsyncClient, sessions: Sessions) -> None:
    people = [
        await a_profile(sessions, f"p{n}@example.com", tracking=n % 2 == 0, first_name=f"Ådä {n}", n=n)
        for n in range(5)
    ]
    async with sessions.engine() as db:  # One of them became another.
        merge = "update profiles set merged_into = :into where id = :id"
        await db.execute(text(merge), {"into": people[1], "id": people[0]})

    first = (await api.get(f"{V1}/profiles", params={"limit": 3})).json()
    second = (await api.get(f"{V1}/profiles", params={"limit": 3, "cursor": first["next_cursor"]})).json()

    listed = first["items"] + second["items"]
    assert [each["id"] for each in listed] == [str(id_) for id_ in reversed(people[1:])]
    assert second["next_cursor"] is None
    for each in listed:
        alone = (await api.get(f"{V1}/profiles/{each['id']}")).json()
        for shown in (alone, each):
            for time in ("created_at", "updated_at"):
                shown[time] = shown[time].replace("+00:00", "Z").rstrip("Z").rstrip("0")
        assert each == alone
