"""How mail programs and browsers ask to unsubscribe, whatever else a body may hold."""

import time
from typing import Any

import pytest

from api.tracking.answers import LARGEST_BODY, read_body
from api.tracking.app import is_one_click
from models.base import Sessions
from tests.api.test_tracking import a_mail, heading, served, token

MULTIPART = "multipart/form-data; boundary=b"
URLENCODED = "application/x-www-form-urlencoded"
NAMED = 'Content-Disposition: form-data; name="List-Unsubscribe"'


def asks(*lines: str, end: str = "\r\n", content_type: str = MULTIPART) -> bool:
    return is_one_click(content_type.encode(), end.join(lines).encode())


@pytest.mark.parametrize("name", ['"List-Unsubscribe"', "List-Unsubscribe"])
def test_a_multipart_body_is_read_as_mail_programs_write_it(name: str) -> None:
    head = f"Content-Disposition: form-data; name={name}"

    assert asks("--b", head, "", "One-Click", "--b--", "")
    assert not asks("--b", head, "", "Two-Clicks", "--b--", "")


def test_a_multipart_body_may_be_written_oddly() -> None:
    folded = ("Content-Disposition: form-data;", ' name="List-Unsubscribe"')
    assert asks("--b", "Content-Type: text/plain", *folded, "X: y", "", "One-Click", "--b--", "")
    lower = 'content-disposition:form-data;NAME="list-unsubscribe"; x=y'
    assert asks("--b", lower, "", "one-click", "--b--", content_type="Multipart/Form-Data;boundary=b")
    assert asks("--b", f"{NAMED}  ", "X: y", "", "One-Click", "--b--", end="\n")
    assert asks("--b", NAMED, "", "One-Click")
    another = ("--b", 'Content-Disposition: form-data; name="from"', "", "mail")
    assert asks("A preamble.", "", *another, "--b", NAMED, "", "One-Click ", *another, "--b--")


def test_another_multipart_body_is_no_one_click() -> None:
    assert not asks("--b", f'{NAMED[:-1]}-Post"', "", "One-Click", "--b--")
    assert not asks("--b", NAMED.replace("name", "filename"), "", "One-Click", "--b--")
    assert not asks("--b", 'Content-Disposition: form-data; name="x"', "", NAMED, "", "One-Click", "--b--")
    assert not asks("--b", NAMED, "", "", "--b", "", "One-Click", "--b--")
    assert not asks("List-Unsubscribe=One-Click")
    assert not asks("")


@pytest.mark.parametrize("content_type", [MULTIPART, URLENCODED])
@pytest.mark.parametrize(
    "piece",
    [
        "name=List-Unsubscribe\n",
        "name=List-Unsubscribe\n\n",
        "name=List-Unsubscribe ",
        "\n--name=List-Unsubscribe\n\nOne-Click",
        "\n--",
        " ",
        "\r\n",
        "&a=",
    ],
)
async def test_no_body_keeps_other_readers_waiting(sessions: Sessions, piece: str, content_type: str) -> None:
    mail = await a_mail(sessions)
    body = piece * (150_000 // len(piece))
    headers = {"Content-Type": content_type}
    async with served(sessions) as (reader, _):
        began = time.process_time()
        answer = await reader.post(f"/u/{token(mail)}", content=body, headers=headers)
        took = time.process_time() - began

    assert (answer.status_code, heading(answer)) == (200, "You are unsubscribed")
    assert took < 2  # Some milliseconds, where the work grows no faster than the body.


@pytest.mark.parametrize("pieces", [[200_000], [65_000, 65_000], [1] * 70_000])
async def test_no_more_of_a_body_is_kept_than_is_looked_at(pieces: list[int]) -> None:
    waiting = iter(pieces)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"a" * next(waiting), "more_body": True}

    assert await read_body(receive) == b"a" * LARGEST_BODY
