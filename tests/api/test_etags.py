"""What is shown has a tag, by which nobody overwrites what they have not seen."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from httpx2 import AsyncClient, Response

from models.base import Sessions
from tests.api.people import an_owner
from tests.api.support import V1, a_campaign, a_segment, a_template, created, refusal


async def a_flow(api: AsyncClient) -> str:
    graph = {"trigger": {"kind": "api"}, "first": "a", "steps": {"a": {"kind": "wait", "duration": "P1D"}}}
    body = {"name": "Welcome", "definition": graph}
    return str((await created(await api.post(f"{V1}/flows", json=body)))["id"])


MAKE: dict[str, Callable[[AsyncClient], Awaitable[str]]] = {
    "segments": a_segment,
    "templates": a_template,
    "campaigns": a_campaign,
    "flows": a_flow,
}


async def the_place(api: AsyncClient, kind: str) -> str:
    return f"{V1}/{kind}/{await MAKE[kind](api)}" if kind in MAKE else f"{V1}/{kind}"


@pytest.mark.parametrize("kind", [*MAKE, "workspace"])
async def test_of_two_who_change_what_they_read_one_wins_and_nothing_is_lost(
    api: AsyncClient, kind: str
) -> None:
    at = await the_place(api, kind)
    seen = {"If-Match": (await api.get(at)).headers["etag"]}

    won = await api.patch(at, json={"name": "Ada's"}, headers=seen)
    lost = await api.patch(at, json={"name": "Grace's"}, headers=seen)

    assert won.status_code == 200, won.text
    problem = refusal(lost, 412)
    assert problem["type"] == "urn:campanile:problem:precondition-failed"
    assert "read it again" in problem["detail"]
    now = await api.get(at)
    assert now.json()["name"] == "Ada's"
    assert now.headers["etag"] == won.headers["etag"]


async def test_one_of_several_workspaces_is_changed_by_its_tag(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    ada = await an_owner(nobody, sessions)
    at = f"{V1}/workspaces/{ada.workspace}"
    seen = {**ada.headers, "If-Match": (await nobody.get(at, headers=ada.headers)).headers["etag"]}

    won = await nobody.patch(at, json={"name": "Tapes"}, headers=seen)
    refusal(await nobody.patch(at, json={"name": "Films"}, headers=seen), 412)
    refusal(await nobody.delete(at, headers=seen), 412)

    assert won.status_code == 200, won.text
    assert (await nobody.get(at, headers=ada.headers)).json()["name"] == "Tapes"


@pytest.mark.parametrize("kind", [*MAKE, "workspace"])
async def test_at_the_same_moment_too_only_one_wins(api: AsyncClient, kind: str) -> None:
    at = await the_place(api, kind)
    seen = {"If-Match": (await api.get(at)).headers["etag"]}

    answers = await asyncio.gather(
        *(api.patch(at, json={"name": f"Number {n}"}, headers=seen) for n in range(4))
    )

    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]
    won = next(answer for answer in answers if answer.status_code == 200)
    assert (await api.get(at)).json()["name"] == won.json()["name"]


@pytest.mark.parametrize("kind", MAKE)
async def test_what_changed_meanwhile_is_not_deleted(api: AsyncClient, kind: str) -> None:
    at = await the_place(api, kind)
    seen = (await api.get(at)).headers["etag"]
    now = (await api.patch(at, json={"name": "Changed"})).headers["etag"]

    refusal(await api.delete(at, headers={"If-Match": seen}), 412)
    assert (await api.get(at)).status_code == 200
    assert (await api.delete(at, headers={"If-Match": now})).status_code == 204


@pytest.mark.parametrize("kind", MAKE)
async def test_what_was_just_made_has_the_tag_by_which_it_is_read(api: AsyncClient, kind: str) -> None:
    answers: list[Response] = []

    async def note(answer: Response) -> None:
        answers.append(answer)

    api.event_hooks["response"].append(note)
    await api.get(await the_place(api, kind))

    made, read = answers[-2:]
    assert made.headers["etag"] == read.headers["etag"]


async def test_two_changes_of_different_fields_at_once_both_stay(api: AsyncClient) -> None:
    at = await the_place(api, "templates")

    changes: list[dict[str, Any]] = [{"name": "Name"}, {"subject": "Subject"}, {"preheader": "Preheader"}]
    await asyncio.gather(*(api.patch(at, json=change) for change in changes))

    now = (await api.get(at)).json()
    assert (now["name"], now["subject"], now["preheader"]) == ("Name", "Subject", "Preheader")


async def test_whoever_has_the_same_is_spared_it(api: AsyncClient) -> None:
    at = await the_place(api, "segments")
    tag = (await api.get(at)).headers["etag"]

    async def asked(given: str) -> Response:
        return await api.get(at, headers={"If-None-Match": given})

    for given in (tag, f'"other", W/{tag}', "*"):
        spared = await asked(given)
        assert (spared.status_code, spared.content, spared.headers["etag"]) == (304, b"", tag)
    assert (await asked('"other"')).status_code == 200


@pytest.mark.parametrize(
    ("given", "status"),
    [("*", 200), ('"other", {tag}', 200), ("W/{tag}", 412), ('"other"', 412), ("other", 422), ("", 422)],
)
async def test_if_match_is_read_as_the_rfc_says(api: AsyncClient, given: str, status: int) -> None:
    at = await the_place(api, "segments")
    tag = (await api.get(at)).headers["etag"]

    answer = await api.patch(at, json={"name": "New"}, headers={"If-Match": given.format(tag=tag)})

    assert answer.status_code == status, answer.text
    if status == 422:
        (error,) = answer.json()["errors"]
        assert (error["pointer"], error["in"]) == ("/If-Match", "header")
