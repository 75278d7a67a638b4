import pytest
from httpx2 import AsyncClient

from tests.api.support import V1, refusal

AT = f"{V1}/workspace"


async def test_what_is_changed_is_there_and_the_rest_stays(api: AsyncClient) -> None:
    change = {
        "sender_name": "Ada's Records",
        "sender_email": "ada@RECORDS.example",
        "postal_address": "1 Groove Street\nSpringfield",
        "time_zone": "America/New_York",
        "caps": [{"channel": "email", "limit": 3, "period": "week"}],
        "quiet_hours": {"from": "21:00", "until": "08:00"},
        "unknown_policy": "resend",
    }
    await api.patch(AT, json=change)
    await api.patch(AT, json={"currency": "EUR"})

    after = (await api.get(AT)).json()

    assert after["sender_email"] == "ada@records.example"
    assert after["quiet_hours"] == {"from": "21:00:00", "until": "08:00:00"}
    for field in ("sender_name", "postal_address", "time_zone", "caps", "unknown_policy"):
        assert after[field] == change[field]
    assert after["currency"] == "EUR"
    assert after["name"] == "Campanile"


async def test_null_takes_a_setting_back(api: AsyncClient) -> None:
    await api.patch(
        AT, json={"sender_email": "a@b.example", "quiet_hours": {"from": "1:00", "until": "2:00"}}
    )

    after = (await api.patch(AT, json={"sender_email": None, "quiet_hours": None})).json()

    assert after["sender_email"] is None
    assert after["quiet_hours"] is None


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"time_zone": "Mars/Olympus"}, "/time_zone"),
        ({"time_zone": "../../etc/passwd"}, "/time_zone"),
        ({"time_zone": "localtime"}, "/time_zone"),
        ({"time_zone": None}, "/time_zone"),
        ({"sender_email": "no address"}, "/sender_email"),
        ({"sender_email": "a@b.example\r\nBcc: x@y.example"}, "/sender_email"),
        ({"sender_name": "Ada\r\nBcc: x@y.example"}, "/sender_name"),
        ({"currency": "dollars"}, "/currency"),
        ({"name": "  "}, "/name"),
        ({"caps": [{"channel": "email", "limit": 0, "period": "day"}]}, "/caps/0/limit"),
        ({"caps": [{"limit": 1, "period": "day"}, {"limit": 2, "period": "week"}]}, "/caps"),
        ({"caps": [{"limit": 1, "period": "fortnight"}]}, "/caps/0/period"),
        ({"quiet_hours": {"from": "21:00"}}, "/quiet_hours/until"),
        ({"quiet_hours": {"from": "08:00", "until": "08:00"}}, "/quiet_hours"),
        ({"quiet_hours": {"from": "21:00+02:00", "until": "08:00"}}, "/quiet_hours/from"),
        ({"unknown_policy": "guess"}, "/unknown_policy"),
        ({"colour": "red"}, "/colour"),
    ],
)
async def test_a_setting_that_makes_no_sense_is_pointed_at(
    strict_api: AsyncClient, change: dict[str, object], pointer: str
) -> None:
    problem = refusal(await strict_api.patch(AT, json=change), 422)

    assert problem["errors"][0]["pointer"] == pointer


async def test_an_empty_change_is_refused(strict_api: AsyncClient) -> None:
    refusal(await strict_api.patch(AT, json={}), 422)


async def test_a_time_of_day_that_is_none_says_how_to_write_one(api: AsyncClient) -> None:
    refused = await api.patch(AT, json={"quiet_hours": {"from": "9pm", "until": "08:00"}})

    assert "such as 21:00" in refusal(refused, 422)["errors"][0]["detail"]
