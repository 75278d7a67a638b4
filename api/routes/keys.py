"""Keys: what programs call with. A key is shown once, when it is made."""

from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from fastapi import status
from pydantic import Field

from api.callers import Asker, WorkspaceId, as_now, needs
from api.deps import Db, Pages
from api.errors import Forbidden
from api.manners import Feature
from api.once import SHOWN_ONCE
from api.shapes import In, Name, Out, Page, example, page_of
from api.stack import Opened
from domain.errors import Invalid
from domain.keys import new_key
from domain.roles import GRANTABLE, PUBLIC, KeyKind, Permission
from models.members import Key
from models.queries import keys

router = Feature(prefix="/keys", tags=["keys"])

_ID = "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"


class KeyIn(In):
    name: Name
    kind: KeyKind = Field(
        KeyKind.SECRET, description="`sk` for programs of yours; `pk` for web pages, which may only track."
    )
    permissions: list[Permission] | None = Field(
        None, description="For `sk`: what it may do; by default all that you may give. For `pk`: left out."
    )
    expires_at: datetime | None = Field(None, description="When it ends by itself; never by default.")

    model_config = example(
        {"name": "n8n", "kind": "sk", "permissions": ["campaigns:read", "campaigns:send"], "expires_at": None}
    )


_EXAMPLE = {
    "id": _ID,
    "name": "n8n",
    "kind": "sk",
    "prefix": "sk_J3kd92Lq",
    "permissions": ["campaigns:read", "campaigns:send"],
    "state": "active",
    "used_at": "2026-11-21T09:00:00Z",
    "expires_at": None,
    "revoked_at": None,
    "created_at": "2026-11-21T09:00:00Z",
}


class KeyOut(Out):
    id: UUID
    name: str
    kind: KeyKind
    prefix: str = Field(description="How it begins; the rest is not kept.")
    permissions: list[str]
    state: Literal["active", "expired", "revoked"]
    used_at: datetime | None = Field(description="To the minute; null when it never was.")
    expires_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime

    model_config = example(_EXAMPLE)


class KeyMade(Out):
    id: UUID
    key: str = Field(description="Keep it now: it is not shown again.")
    details: KeyOut

    model_config = example(
        {
            "id": _ID,
            "key": "sk_J3kd92LqkR0vJ1b6sX8yQpN5mZtW4cHfGuEaDoTiVrB",
            "details": _EXAMPLE,
        }
    )


class RotateIn(In):
    overlap_seconds: int = Field(
        86_400, ge=0, le=2_592_000, description="How long the old key works beside the new one."
    )

    model_config = example({"overlap_seconds": 3600})


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    dependencies=[needs(Permission.KEYS_WRITE)],
    openapi_extra=SHOWN_ONCE,
)
async def create_key(body: KeyIn, opened: Opened, asker: Asker, workspace_id: WorkspaceId, db: Db) -> KeyMade:
    """Make a key. It may do no more than whoever makes it."""
    now = opened.clock.now()
    if body.expires_at is not None and body.expires_at.tzinfo is None:
        raise Invalid("Give the time with its offset, such as 2026-12-31T00:00:00Z.", "/expires_at")
    if body.expires_at is not None and body.expires_at <= now:
        raise Invalid("This is past; leave it out for a key that does not end by itself.", "/expires_at")
    permissions = _granted(body, (await as_now(db, asker, Permission.KEYS_WRITE, now)).permissions)
    secret = new_key(body.kind)
    key = await keys.create(db, workspace_id, secret, body.name, permissions, body.expires_at)
    return KeyMade(id=key.id, key=secret, details=shown(key, now))


@router.get("", dependencies=[needs(Permission.KEYS_READ)])
async def list_keys(opened: Opened, db: Db, pages: Pages) -> Page[KeyOut]:
    """Keys, the newest first, with those that work no more."""
    found = await keys.page(db, pages.after, pages.limit)
    now = opened.clock.now()
    return page_of([shown(key, now) for key in found], [key.id for key in found], pages.limit)


@router.get("/{key_id}", dependencies=[needs(Permission.KEYS_READ)])
async def read_key(key_id: UUID, opened: Opened, db: Db) -> KeyOut:
    """One key."""
    return shown(await keys.get(db, key_id), opened.clock.now())


@router.post(
    "/{key_id}/rotate",
    status_code=status.HTTP_201_CREATED,
    dependencies=[needs(Permission.KEYS_WRITE)],
    openapi_extra=SHOWN_ONCE,
)
async def rotate_key(key_id: UUID, body: RotateIn, opened: Opened, asker: Asker, db: Db) -> KeyMade:
    """Make a new key in the place of this one, which works on for a while."""
    now = opened.clock.now()
    old = await keys.get(db, key_id)
    present = await as_now(db, asker, Permission.KEYS_WRITE, now)
    _refuse_more_than_one_has(old.permissions, present.permissions)
    secret = new_key(KeyKind(old.kind))
    until = now + timedelta(seconds=body.overlap_seconds)
    new = await keys.rotate(db, key_id, secret, until, now)
    opened.keys.forget()
    return KeyMade(id=new.id, key=secret, details=shown(new, now))


@router.delete(
    "/{key_id}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[needs(Permission.KEYS_WRITE)]
)
async def revoke_key(key_id: UUID, opened: Opened, db: Db) -> None:
    """Revoke a key: here at once, in other processes within three seconds."""
    await keys.revoke(db, key_id, opened.clock.now())
    opened.keys.forget()


def _granted(body: KeyIn, mine: frozenset[Permission]) -> frozenset[Permission]:
    if body.kind is KeyKind.PUBLIC:
        if body.permissions is not None and not PUBLIC.issuperset(body.permissions):
            raise Invalid("A public key can only track; leave the permissions out.", "/permissions")
        _refuse_more_than_one_has(PUBLIC, mine)
        return PUBLIC
    if body.permissions is None:
        return mine & GRANTABLE
    wanted = frozenset(body.permissions)
    if never := sorted(wanted - GRANTABLE):
        raise Invalid(f"No key can have {', '.join(never)}: that is for people.", "/permissions")
    _refuse_more_than_one_has(wanted, mine)
    return wanted


def _refuse_more_than_one_has(wanted: frozenset[Permission] | list[str], mine: frozenset[Permission]) -> None:
    if lacking := sorted(set(map(Permission, wanted)) - mine):
        raise Forbidden(f"A key can have no more than you, who lack {', '.join(lacking)}.")


def shown(key: Key, now: datetime) -> KeyOut:
    ended = key.expires_at is not None and key.expires_at <= now
    state = "revoked" if key.revoked_at is not None else "expired" if ended else "active"
    return KeyOut.model_validate({**vars(key), "state": state})
