"""Whom a fresh stack belongs to: an owner who can sign in, with a key for programs and one for pages."""

import json
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psycopg

from domain import keys
from domain.roles import GRANTABLE, PUBLIC, KeyKind, Role
from domain.workspaces import DEFAULT_WORKSPACE

EMAIL = "owner@campanile.example"


@dataclass(frozen=True)
class FirstOwner:
    """Who may do everything in the workspace that an installation begins with."""

    email: str
    password: str
    key: str
    public_key: str = ""  # Of the demo's site.


def first_owner(url: str, note: Path) -> FirstOwner:
    """The owner whom `note` remembers, or a new one, is in the database at `url` (as the engine's role)."""
    known = _remembered(note)
    owner = known or FirstOwner(EMAIL, secrets.token_urlsafe(12), keys.new_key(KeyKind.SECRET))
    if not owner.public_key:
        owner = replace(owner, public_key=keys.new_key(KeyKind.PUBLIC))
    with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://")) as db:
        if not known:  # Nobody knows the password of one from before.
            db.execute("delete from users where email = %s", [owner.email])
        settle(db, owner)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.touch(mode=0o600)
    note.write_text(json.dumps(asdict(owner)))
    return owner


def settle(db: psycopg.Connection, owner: FirstOwner) -> None:
    """Make the owner, their place in the workspace, and their key, where they are missing."""
    known = db.execute("select 1 from users where email = %s", [owner.email]).fetchone()
    if not known:
        from domain import passwords  # Its lists of passwords need memory, and this process stays.

        db.execute(
            "insert into users (email, name, password_hash, verified_at) values (%s, 'Owner', %s, now())",
            [owner.email, passwords.hash_of(owner.password)],
        )
    db.execute(
        "insert into memberships (workspace_id, user_id, role) "
        "select %s, id, %s from users where email = %s on conflict do nothing",
        [DEFAULT_WORKSPACE, Role.OWNER.value, owner.email],
    )
    _key(db, owner.key, KeyKind.SECRET, "Command line", sorted(GRANTABLE))
    if owner.public_key:
        _key(db, owner.public_key, KeyKind.PUBLIC, "Site of the demo", sorted(PUBLIC))


def _key(db: psycopg.Connection, key: str, kind: KeyKind, name: str, permissions: list[str]) -> None:
    """A key is there, and may do what one from before could not be given yet."""
    db.execute("update keys set permissions = %s where hash = %s", [permissions, keys.hash_of(key)])
    db.execute(
        "insert into keys (workspace_id, kind, name, prefix, hash, permissions) "
        "select %(workspace)s, %(kind)s, %(name)s, %(prefix)s, %(hash)s, %(permissions)s "
        "where not exists (select from keys where hash = %(hash)s)",
        {
            "workspace": DEFAULT_WORKSPACE,
            "kind": kind.value,
            "name": name,
            "prefix": key[: keys.SHOWN],
            "hash": keys.hash_of(key),
            "permissions": permissions,
        },
    )


def _remembered(note: Path) -> FirstOwner | None:
    try:
        return FirstOwner(**json.loads(note.read_text()))
    except (OSError, ValueError, TypeError):
        return None
