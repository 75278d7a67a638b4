"""The mailbox of notices: read, settled, and left to people where nobody understands it."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from activities.mailbox import Mailbox
from domain import notices, verp
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from tests.domain.test_notices import ARF, MESSAGE, PATH, POSTFIX, UNSIGNED, mail
from tests.people import a_message, a_person
from tests.reporting import TOKENS, settled
from tests.sending import NOW
from tests.support import GivenClock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("new", "cur", "tmp"):
        (tmp_path / name).mkdir()
    return tmp_path


async def a_mail(sessions: Sessions) -> UUID:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return await a_message(db, await a_person(db, "ada@shop.example"), marked_at=NOW)


def put(folder: Path, name: str, shape: str, message: UUID) -> None:
    path = verp.address("mail.shop.example", message, TOKENS)
    (folder / "new" / name).write_bytes(mail(shape).replace(PATH.encode(), path.encode()))


async def look(sessions: Sessions, folder: Path) -> int:
    return await Mailbox(folder, sessions, TOKENS, GivenClock()).look()


async def fates(sessions: Sessions) -> list[Any]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return list(await db.scalars(text("select fate from messages")))


def left(folder: Path) -> dict[str, list[str]]:
    return {name: sorted(path.name for path in (folder / name).iterdir()) for name in ("new", "cur")}


async def test_a_notice_is_settled_and_removed(sessions: Sessions, folder: Path) -> None:
    message = await a_mail(sessions)
    put(folder, "1.mx", POSTFIX, message)

    assert await look(sessions, folder) == 1
    await settled(sessions)

    assert await fates(sessions) == ["hard bounce"]
    assert left(folder) == {"new": [], "cur": []}


async def test_a_notice_that_is_read_twice_counts_once(sessions: Sessions, folder: Path) -> None:
    """Who read it died before it was removed; and the complaint comes twice anyway."""
    message = await a_mail(sessions)
    for n in range(3):
        put(folder, f"{n}.mx", ARF.replace("KIND", "abuse"), message)
    await look(sessions, folder)

    done = await settled(sessions)

    assert (done.reports, done.repeated) == (1, 2)
    assert await fates(sessions) == ["complained"]


@pytest.mark.parametrize(
    ("address", "fate"),
    [("ADA@shop.example", "hard bounce"), ("eve@shop.example", None)],
    ids=["its own", "another"],
)
async def test_without_a_signed_return_path_a_failure_counts_at_the_messages_own_address_alone(
    sessions: Sessions, folder: Path, address: str, fate: str | None
) -> None:
    message = await a_mail(sessions)
    shape = UNSIGNED.replace(str(MESSAGE), str(message)).replace("nobody@example.com", address)
    (folder / "new" / "1.mx").write_bytes(mail(shape))

    assert await look(sessions, folder) == 1
    await settled(sessions)

    assert await fates(sessions) == [fate]
    assert left(folder) == {"new": [], "cur": [] if fate else ["1.mx:2,"]}


async def test_a_notice_that_finds_nothing_is_told_in_the_log(sessions: Sessions, folder: Path) -> None:
    put(folder, "gone.mx", POSTFIX, UUID(int=7))

    with capture_logs() as told:
        await look(sessions, folder)

    assert [(line["event"], line["file"]) for line in told] == [
        ("A notice finds no message, and is left to people", "gone.mx")
    ]


async def test_what_says_nothing_of_ours_is_left_to_people(sessions: Sessions, folder: Path) -> None:
    await a_mail(sessions)
    put(folder, "gone.mx", POSTFIX, UUID(int=7))
    (folder / "new" / "holiday.mx:2,").write_bytes(b"From: ada@shop.example\r\n\r\nI am away.")
    (folder / "new" / "large.mx").write_bytes(b"x" * (2 * notices.LARGEST))
    (folder / "new" / ".hidden").write_bytes(b"")
    (folder / "new" / "link").symlink_to("/etc/hostname")

    assert await look(sessions, folder) == 3

    assert left(folder) == {
        "new": [".hidden", "link"],
        "cur": ["gone.mx:2,", "holiday.mx:2,", "large.mx:2,"],
    }


async def test_a_folder_that_is_not_there_yet_is_no_error(sessions: Sessions, tmp_path: Path) -> None:
    assert await look(sessions, tmp_path / "nowhere") == 0
