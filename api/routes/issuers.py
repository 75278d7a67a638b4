"""A workspace's OpenID Connect issuers, by which its members may sign in."""

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import status
from pydantic import Field, SecretStr, StringConstraints
from uuid_utils.compat import uuid7

from api.callers import Asker, Caller, WorkspaceId, as_now, needs
from api.deps import Db, Pages
from api.errors import Forbidden
from api.manners import Feature
from api.shapes import In, Name, Out, Page, absent, example, page_of
from api.sign_ins import callback_of
from api.stack import Opened, Stack
from channels import oidc
from domain.errors import Invalid
from domain.roles import MAY, Permission, Role
from models.members import Issuer
from models.queries import issuers, sign_ins

router = Feature(prefix="/issuers", tags=["issuers"])

Url = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
ClientId = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
ClientSecret = Annotated[SecretStr, Field(min_length=1, max_length=1000)]

_EXAMPLE = {"name": "Our staff", "issuer": "https://login.records.example", "client_id": "campanile"}


class IssuerIn(In):
    name: Name
    issuer: Url = Field(description="Its URL, exactly as its discovery document names it.")
    client_id: ClientId
    client_secret: ClientSecret = Field(description="Kept sealed, and never answered.")

    model_config = example(_EXAMPLE | {"client_secret": "a secret of the issuer's"})


class IssuerChange(In):
    """What to change; the rest stays. Another address or client ends the sessions that came by it."""

    name: Name = Field(default_factory=absent)
    issuer: Url = Field(default_factory=absent)
    client_id: ClientId = Field(default_factory=absent)
    client_secret: ClientSecret = Field(default_factory=absent)

    model_config = example({"name": "Staff of the shop"})


class IssuerOut(Out):
    id: UUID
    name: str
    issuer: str
    client_id: str
    redirect_uri: str = Field(description="Tell the issuer to send browsers back here.")
    start_url: str = Field(description="Where members begin to sign in.")
    created_at: datetime
    updated_at: datetime

    model_config = example(
        _EXAMPLE
        | {
            "id": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f",
            "redirect_uri": "https://campanile.example/api/v1/auth/issuers/0199f1c2-a4b0-…/callback",
            "start_url": "https://campanile.example/api/v1/auth/issuers/0199f1c2-a4b0-…/start",
            "created_at": "2026-11-21T09:00:00Z",
            "updated_at": "2026-11-21T09:00:00Z",
        }
    )


@router.post("", status_code=status.HTTP_201_CREATED, dependencies=[needs(Permission.ISSUERS_WRITE)])
async def create_issuer(body: IssuerIn, opened: Opened, asker: Asker, workspace_id: WorkspaceId) -> IssuerOut:
    """Set up an issuer. It is asked at once whether it is one. A key needs all that an admin may do."""
    _refuse_a_lesser_key(asker)
    await _ask(opened, body.issuer)
    issuer_id = uuid7()
    values = {
        "name": body.name,
        "issuer": body.issuer,
        "client_id": body.client_id,
        "client_secret": _sealed(opened, body.client_secret, issuer_id),
    }
    async with opened.sessions(workspace_id, asker.actor) as db:
        await as_now(db, asker, Permission.ISSUERS_WRITE, opened.clock.now())
        return shown(opened, await issuers.create(db, workspace_id, issuer_id, values))


@router.get("", dependencies=[needs(Permission.ISSUERS_READ)])
async def list_issuers(opened: Opened, db: Db, pages: Pages) -> Page[IssuerOut]:
    """Issuers, the newest first."""
    found = await issuers.page(db, pages.after, pages.limit)
    return page_of([shown(opened, row) for row in found], [row.id for row in found], pages.limit)


@router.get("/{issuer_id}", dependencies=[needs(Permission.ISSUERS_READ)])
async def read_issuer(issuer_id: UUID, opened: Opened, db: Db) -> IssuerOut:
    """One issuer."""
    return shown(opened, await issuers.get(db, issuer_id))


@router.patch("/{issuer_id}", dependencies=[needs(Permission.ISSUERS_WRITE)])
async def change_issuer(
    issuer_id: UUID, change: IssuerChange, opened: Opened, asker: Asker, workspace_id: WorkspaceId
) -> IssuerOut:
    """Change an issuer. Another address is asked at once whether it is one."""
    _refuse_a_lesser_key(asker)
    given = change.model_fields_set
    if not given:
        raise Invalid("Name at least one field to change.")
    async with opened.sessions(workspace_id) as db:
        before = await issuers.get(db, issuer_id)
    if "issuer" in given:
        await _ask(opened, change.issuer)
    values: dict[str, Any] = {name: getattr(change, name) for name in given - {"client_secret"}}
    if "client_secret" in given:
        values["client_secret"] = _sealed(opened, change.client_secret, issuer_id)
    async with opened.sessions.accounts(asker.actor) as db:
        await as_now(db, asker, Permission.ISSUERS_WRITE, opened.clock.now())
        changed = await issuers.change(db, workspace_id, issuer_id, values)
        if (changed.issuer, changed.client_id) != (before.issuer, before.client_id):
            await sign_ins.forget(db, workspace_id, before.identities, opened.clock.now())
    opened.visitors.forget()
    return shown(opened, changed)


@router.delete(
    "/{issuer_id}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[needs(Permission.ISSUERS_WRITE)]
)
async def delete_issuer(issuer_id: UUID, opened: Opened, asker: Asker, workspace_id: WorkspaceId) -> None:
    """Delete an issuer. Sessions that came by an issuer of the workspace end."""
    async with opened.sessions.accounts(asker.actor) as db:
        gone = await issuers.delete(db, workspace_id, issuer_id)
        await sign_ins.forget(db, workspace_id, gone.identities, opened.clock.now())
    opened.visitors.forget()


def _refuse_a_lesser_key(asker: Caller) -> None:
    """An issuer lets in whom it likes, as admins at most."""
    if asker.kind == "key" and (lacking := sorted(MAY[Role.ADMIN] - asker.permissions)):
        raise Forbidden(f"An issuer makes admins, and this key lacks {', '.join(lacking)}.")


async def _ask(opened: Stack, issuer: str) -> None:
    """Raises `Invalid` when it is no issuer that we can use."""
    try:
        parts = urlsplit(issuer)
    except ValueError:
        parts = urlsplit("")
    named = parts.hostname and not parts.username and not parts.query and not parts.fragment
    if not opened.egress.speaks(parts.scheme) or not named or not issuer.isascii() or "#" in issuer:
        raise Invalid("Write the issuer's address, such as https://login.records.example.", "/issuer")
    try:
        await oidc.discover(opened.egress, issuer)
    except oidc.IssuerFailed as failed:
        raise Invalid(failed.message, "/issuer") from None


def _sealed(opened: Stack, secret: SecretStr, issuer_id: UUID) -> str:
    return opened.sealer.seal(secret.get_secret_value(), f"issuer:{issuer_id}")


def shown(opened: Stack, row: Issuer) -> IssuerOut:
    back = callback_of(opened, row.id)
    start = f"{back.removesuffix('callback')}start"
    return IssuerOut.model_validate({**vars(row), "redirect_uri": back, "start_url": start})
