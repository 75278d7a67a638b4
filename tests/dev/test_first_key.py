"""Whom a fresh stack belongs to."""

import json
from pathlib import Path

from sqlalchemy import text

from dev.first_key import EMAIL, first_owner
from models.base import Sessions
from tests.support import Database

COUNTED = text(
    "select (select count(*) from users where email = :email), (select count(*) from keys where name ="
    " 'Command line'), (select count(*) from memberships)"
)


async def test_a_stack_keeps_its_owner_from_start_to_start(
    sessions: Sessions, database: Database, tmp_path: Path
) -> None:
    note = tmp_path / "owner.json"
    first = first_owner(database.engine_url, note)
    again = first_owner(database.engine_url, note)

    assert again == first
    assert json.loads(note.read_text())["key"] == first.key
    assert note.stat().st_mode & 0o777 == 0o600
    assert await counted(sessions) == (1, 2, 2)  # With the tests' own.


async def test_an_owner_whose_password_was_lost_gets_another(
    sessions: Sessions, database: Database, tmp_path: Path
) -> None:
    first = first_owner(database.engine_url, tmp_path / "lost.json")
    second = first_owner(database.engine_url, tmp_path / "owner.json")

    assert second.password != first.password
    assert await counted(sessions) == (1, 3, 2)


async def counted(sessions: Sessions) -> tuple[int, ...]:
    async with sessions.engine() as db:
        return tuple((await db.execute(COUNTED, {"email": EMAIL})).one())
