"""Changing the key under which secrets rest."""

import base64
from uuid import UUID

import pytest
from sqlalchemy import text

from dev.process import StackError
from dev.rotation import rotate
from domain.secrets import Sealer
from models.base import Sessions
from settings import Settings
from tests.databases import Database
from tests.support import OWNER_OF_ALL

OLD = "old:" + base64.b64encode(b"o" * 32).decode()
NEW = "n_w:" + base64.b64encode(b"n" * 32).decode()


async def test_every_secret_is_sealed_anew_and_the_old_key_can_go(
    sessions: Sessions, database: Database
) -> None:
    user = await a_secret(sessions, Sealer.of(OLD))

    assert await rotate(settings(database, f"{NEW},{OLD}")) == 1
    assert await rotate(settings(database, f"{NEW},{OLD}")) == 0

    assert Sealer.of(NEW).open(await kept(sessions), f"totp:{user}") == "the secret"


async def test_nothing_changes_while_a_key_is_missing(sessions: Sessions, database: Database) -> None:
    await a_secret(sessions, Sealer.of(OLD))
    before = await kept(sessions)

    with pytest.raises(StackError, match="missing from ENCRYPTION_KEYS"):
        await rotate(settings(database, NEW))

    assert await kept(sessions) == before


async def a_secret(sessions: Sessions, sealer: Sealer) -> UUID:
    async with sessions.accounts() as db:
        asked = text("select id from users where email = :email")
        user = await db.scalar(asked, {"email": OWNER_OF_ALL.email})
        assert isinstance(user, UUID)
        sealed = sealer.seal("the secret", f"totp:{user}")
        await db.execute(text("update users set totp_secret = :sealed"), {"sealed": sealed})
        return user


async def kept(sessions: Sessions) -> str:
    async with sessions.accounts() as db:
        return str(await db.scalar(text("select totp_secret from users")))


def settings(database: Database, keys: str) -> Settings:
    return Settings(database_url=database.url, engine_database_url=database.engine_url, encryption_keys=keys)
