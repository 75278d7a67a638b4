"""Domains that mail is sent from: what to publish, and whether it stands there."""

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import status
from pydantic import AfterValidator, Field
from uuid_utils.compat import uuid7

from api.callers import Asker, WorkspaceId, needs
from api.deps import Db, Pages
from api.manners import Feature
from api.shapes import In, Out, Page, example, page_of
from api.stack import Opened, Stack
from channels import dkim, dns
from domain.errors import Conflict
from domain.roles import Permission
from domain.sending_domains import About, Record, Standing, normal_domain, telling_of, to_publish
from models.domains import Domain
from models.queries import domains, verified_senders, workspaces

router = Feature(prefix="/domains", tags=["domains"])

Name = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(normal_domain)]


class DomainIn(In):
    name: Name
    key: Literal["rsa", "ed25519"] = Field(
        "rsa", description="Of which kind its key is. Some receivers verify rsa alone."
    )

    model_config = example({"name": "records.example"})


class RecordOut(Out):
    """One line to publish."""

    about: About
    type: Literal["TXT", "MX", "CNAME"]
    name: str
    value: str
    required: bool
    why: str


class FindingOut(Out):
    """What stood where a line should, when it was looked at last."""

    about: About
    name: str
    standing: Standing
    found: list[str]
    says: str


_EXAMPLE: dict[str, Any] = {
    "id": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f",
    "name": "records.example",
    "verified": False,
    "verified_at": None,
    "checked_at": None,
    "publish": [
        {
            "about": "dkim",
            "type": "TXT",
            "name": "campanile3a4b5c6d._domainkey.records.example",
            "value": "v=DKIM1; k=rsa; p=MIIBIjANBgkq…",
            "required": True,
            "why": "Receivers verify the signature of your mail by it, and we, that the domain is yours.",
        }
    ],
    "findings": [],
    "created_at": "2026-11-21T09:00:00Z",
}


class DomainOut(Out):
    id: UUID
    name: str
    verified: bool = Field(description="Whether it publishes the key: its mail by SMTP is signed since then.")
    verified_at: datetime | None
    checked_at: datetime | None
    publish: list[RecordOut] = Field(description="What to enter where the domain's DNS is managed.")
    findings: list[FindingOut]
    created_at: datetime

    model_config = example(_EXAMPLE)


@router.post("", status_code=status.HTTP_201_CREATED, dependencies=[needs(Permission.WORKSPACE_WRITE)])
async def create_domain(body: DomainIn, opened: Opened, asker: Asker, workspace_id: WorkspaceId) -> DomainOut:
    """Set a domain up to send from. It gets a key; publish what is answered, and have it checked."""
    domain_id = uuid7()
    pem = await asyncio.to_thread(dkim.new_key, body.key)
    values = {
        "name": body.name,
        "dkim_selector": f"campanile{domain_id.hex[-8:]}",
        "dkim_record": dkim.record_of(pem),
        "dkim_key": opened.sealer.seal(pem, f"domain:{domain_id}"),
    }
    async with opened.sessions(workspace_id, asker.actor) as db:
        await workspaces.get(db, workspace_id, lock=True)
        return shown(opened, await domains.create(db, workspace_id, domain_id, values))


@router.get("", dependencies=[needs(Permission.WORKSPACE_READ)])
async def list_domains(opened: Opened, db: Db, pages: Pages) -> Page[DomainOut]:
    """Domains, the newest first."""
    found = await domains.page(db, pages.after, pages.limit)
    return page_of([shown(opened, row) for row in found], [row.id for row in found], pages.limit)


@router.get("/{domain_id}", dependencies=[needs(Permission.WORKSPACE_READ)])
async def read_domain(domain_id: UUID, opened: Opened, db: Db) -> DomainOut:
    """One domain: what to publish, and what was found when it was checked last."""
    return shown(opened, await domains.get(db, domain_id))


@router.post("/{domain_id}/check", dependencies=[needs(Permission.WORKSPACE_WRITE)])
async def check_domain(domain_id: UUID, opened: Opened, asker: Asker, workspace_id: WorkspaceId) -> DomainOut:
    """Look at what the domain publishes now. With its key it is verified, and its addresses with it.

    Where the key is gone, the addresses for which it alone vouched wait to be verified again: the finding
    names them.
    """
    async with opened.sessions(workspace_id) as db:
        records = published(opened, await domains.get(db, domain_id))
    findings = await dns.look(records, opened.published)
    standing = {finding.about: finding.standing for finding in findings}
    now = opened.clock.now()
    async with opened.sessions(workspace_id, asker.actor) as db:
        await workspaces.get(db, workspace_id, lock=True)
        domain = await domains.note(
            db,
            domain_id,
            [finding.as_json() for finding in findings],
            now,
            verified=_good(standing[About.DKIM]),
            returns=_good(standing.get(About.RETURN_PATH, Standing.MISSING)),
        )
        if domain.verified_at is not None:
            await verified_senders.vouch(db, domain, now)
        elif alone := await verified_senders.let_go(db, domain_id):
            domain.findings = [finding.as_json() for finding in telling_of(alone, findings)]
        await verified_senders.settle(db, workspace_id)
        await verified_senders.touch(db, workspace_id)
    return shown(opened, domain)


@router.delete(
    "/{domain_id}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[needs(Permission.WORKSPACE_WRITE)]
)
async def delete_domain(domain_id: UUID, workspace_id: WorkspaceId, db: Db) -> None:
    """Forget a domain and its key. Its mail is signed no more, and its addresses wait to be verified again.

    Refused while your mail comes from an address for which this domain alone vouches.
    """
    workspace = await workspaces.get(db, workspace_id, lock=True)
    await domains.get(db, domain_id, lock=True)
    if workspace.sending_email in await verified_senders.let_go(db, domain_id):
        raise Conflict(
            f"{workspace.sending_email} is what your mail comes from, and this domain alone vouches for it: "
            "choose another sender by PATCH /api/v1/workspace first."
        )
    await domains.delete(db, domain_id)
    await verified_senders.touch(db, workspace_id)


def _good(standing: Standing) -> bool | None:
    return None if standing is Standing.UNKNOWN else standing is Standing.OK


def published(opened: Stack, row: Domain) -> list[Record]:
    """What the domain shall publish."""
    return to_publish(row.name, row.dkim_selector, row.dkim_record, opened.settings.ground)


def shown(opened: Stack, row: Domain) -> DomainOut:
    publish = [RecordOut.model_validate(record) for record in published(opened, row)]
    return DomainOut.model_validate(
        {**vars(row), "verified": row.verified_at is not None, "publish": publish}
    )
