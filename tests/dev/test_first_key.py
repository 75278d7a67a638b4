"""Whom a fresh stack belongs to."""

import json
from pathlib import Path

from sqlalchemy import text

from dev.first_key import EMAIL, first_owner
from domain.keys import hash_of
from models.base import Sessions
from tests.databases import Database

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
    assert first.public_key.startswith("pk_")
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


async def test_a_note_from_before_there_were_public_keys_gets_one(
    sessions: Sessions, database: Database, tmp_path: Path
) -> None:
    note = tmp_path / "owner.json"
    first = first_owner(database.engine_url, note)
    old = json.loads(note.read_text())
    del old["public_key"]
    note.write_text(json.dumps(old))

    again = first_owner(database.engine_url, note)

    assert (again.key, again.password) == (first.key, first.password)
    assert first_owner(database.engine_url, note) == again


async def test_a_key_from_before_there_were_some_permissions_gets_them(
    sessions: Sessions, database: Database, tmp_path: Path
) -> None:
    note = tmp_path / "owner.json"
    key = first_owner(database.engine_url, note).key
    its = text("select permissions from keys where hash = :hash")
    async with sessions.engine() as db:
        before = (await db.execute(its, {"hash": hash_of(key)})).scalar_one()
        fewer = text("update keys set permissions = array_remove(permissions, 'providers:write')")
        await db.execute(fewer)

    first_owner(database.engine_url, note)

    async with sessions.engine() as db:
        assert "providers:write" in before
        assert (await db.execute(its, {"hash": hash_of(key)})).scalar_one() == before
