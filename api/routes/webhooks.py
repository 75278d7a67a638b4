"""Webhooks: addresses of other programs that are told what happens. `api/routes/webhook_deliveries.py` has
what became of each announcement, `docs/webhooks.md` how a receiver knows that it is we who speak."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import status
from httpx2 import HTTPError
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from api.callers import Asker, WorkspaceId, as_now, needs
from api.deps import Db, Pages
from api.etags import Unchanged
from api.manners import Feature
from api.once import SHOWN_ONCE
from api.shapes import In, Name, Out, Page, absent, example, page_of
from api.stack import Opened, Stack
from channels.egress import EgressRefused
from domain.errors import Invalid
from domain.roles import Permission
from domain.webhooks import LONGEST_URL, checked_secret, checked_types, new_secret
from models.queries import webhooks
from models.webhooks import Webhook, WebhookState

router = Feature(prefix="/webhooks", tags=["webhooks"])

MOST_TYPES = 60
LONGEST_OVERLAP = 168  # Hours.
_ID = "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"

Url = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_URL)]
Types = Annotated[
    list[Annotated[str, StringConstraints(max_length=100)]],
    Field(
        max_length=MOST_TYPES,
        description="Which announcements it gets: types of GET /webhooks/event-types, groups such as "
        "`message.*`, or `*` for all. Empty: only steps of flows call it.",
    ),
    AfterValidator(checked_types),
]


def _secret(given: Any) -> Any:
    """So that no refusal repeats it."""
    return SecretStr(checked_secret(given)) if isinstance(given, str) else given


Secret = Annotated[SecretStr, BeforeValidator(_secret), Field(max_length=200)]

_EXAMPLE: dict[str, Any] = {
    "name": "n8n: failed messages",
    "url": "https://n8n.example/webhook/6e1f",
    "event_types": ["message.failed", "job.failed", "breaker.*"],
}


class WebhookIn(In):
    name: Name
    url: Url = Field(
        description="https://…, on the public Internet: it is looked up at once. No user and password in it."
    )
    event_types: Types
    secret: Secret | None = Field(
        None, description="whsec_ and 24 to 64 random bytes in base64; we make one when it is left out."
    )

    model_config = example(_EXAMPLE)


class WebhookChange(In):
    """What to change; the rest stays."""

    name: Name = Field(default_factory=absent)
    url: Url = Field(default_factory=absent)
    event_types: Types = Field(default_factory=absent)
    state: WebhookState = Field(
        default_factory=absent,
        description="disabled: nothing more is sent, and what was on its way failed. enabled: a new start.",
    )

    model_config = example({"name": "n8n: all about messages", "event_types": ["message.*", "job.failed"]})


class WebhookOut(Out):
    moving = frozenset({"failures", "failing_since", "rests_until", "pending", "old_secret_until"})

    id: UUID
    name: str
    url: str
    event_types: list[str]
    state: WebhookState
    disabled_reason: str | None
    disabled_at: datetime | None
    failures: int = Field(description="Tries in a row that failed.")
    failing_since: datetime | None = Field(description="Since when nothing but failures; null when it works.")
    rests_until: datetime | None = Field(description="Nothing is tried before, since it failed so often.")
    pending: int = Field(description=f"Deliveries on their way; {webhooks.COUNTED} stands for more, too.")
    old_secret_until: datetime | None = Field(
        description="Until then the secret before the last rotation signs as well."
    )
    created_at: datetime
    updated_at: datetime

    model_config = example(
        _EXAMPLE
        | {
            "id": _ID,
            "state": "enabled",
            "disabled_reason": None,
            "disabled_at": None,
            "failures": 0,
            "failing_since": None,
            "rests_until": None,
            "pending": 0,
            "old_secret_until": None,
            "created_at": "2026-11-21T09:00:00Z",
            "updated_at": "2026-11-21T09:00:00Z",
        }
    )


class WebhookMade(Out):
    id: UUID
    secret: str = Field(description="Keep it now, for the receiver to verify by: it is not shown again.")
    details: WebhookOut

    model_config = example(
        {
            "id": _ID,
            "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
            "details": WebhookOut.model_config["json_schema_extra"]["example"],  # type: ignore[index]
        }
    )


class RotateSecretIn(In):
    overlap_hours: int = Field(
        24, ge=0, le=LONGEST_OVERLAP, description="How long the old secret signs beside the new one."
    )
    secret: Secret | None = Field(None, description="The new one; we make it when it is left out.")

    model_config = example({"overlap_hours": 24})


_FOR_A_DAY = RotateSecretIn()


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    dependencies=[needs(Permission.WEBHOOKS_WRITE)],
    openapi_extra=SHOWN_ONCE,
)
async def create_webhook(
    body: WebhookIn, opened: Opened, asker: Asker, workspace_id: WorkspaceId
) -> WebhookMade:
    """Have an address told of what happens. The answer has the secret, which is shown this once."""
    await _look_at(opened, body.url)
    webhook_id, secret = uuid7(), _given(body.secret)
    values = body.model_dump(include={"name", "url", "event_types"})
    async with opened.sessions(workspace_id, asker.actor) as db:
        now = opened.clock.now()
        await as_now(db, asker, Permission.WEBHOOKS_WRITE, now)
        values["secret"] = _sealed(opened, secret, webhook_id)
        made = await webhooks.create(db, workspace_id, webhook_id, values)
        return WebhookMade(id=made.id, secret=secret, details=shown(made, 0, now))


@router.get("", dependencies=[needs(Permission.WEBHOOKS_READ)])
async def list_webhooks(opened: Opened, db: Db, workspace_id: WorkspaceId, pages: Pages) -> Page[WebhookOut]:
    """Webhooks and how they are doing, the newest first."""
    found = await webhooks.page(db, pages.after, pages.limit)
    items = await _shown(db, workspace_id, found, opened.clock.now())
    return page_of(items, [row.id for row in found], pages.limit)


@router.get("/{webhook_id}", dependencies=[needs(Permission.WEBHOOKS_READ)])
async def read_webhook(webhook_id: UUID, opened: Opened, db: Db, workspace_id: WorkspaceId) -> WebhookOut:
    """One webhook, and how it is doing."""
    [item] = await _shown(db, workspace_id, [await webhooks.get(db, webhook_id)], opened.clock.now())
    return item


@router.patch("/{webhook_id}", dependencies=[needs(Permission.WEBHOOKS_WRITE)])
async def change_webhook(
    *,
    webhook_id: UUID,
    change: WebhookChange,
    opened: Opened,
    asker: Asker,
    workspace_id: WorkspaceId,
    unchanged: Unchanged,
) -> WebhookOut:
    """Change a webhook, disable or enable it. What is on its way goes to the address as it is now."""
    given = change.model_fields_set
    if not given:
        raise Invalid("Name at least one field to change.")
    async with opened.sessions(workspace_id) as db:
        await webhooks.get(db, webhook_id)
    if "url" in given:
        await _look_at(opened, change.url)
    async with opened.sessions(workspace_id, asker.actor) as db:
        now = opened.clock.now()
        row = await webhooks.get(db, webhook_id, lock=True)
        [before] = await _shown(db, workspace_id, [row], now)
        unchanged.check(before)
        await as_now(db, asker, Permission.WEBHOOKS_WRITE, now)
        await webhooks.change(db, row, change.model_dump(include=set(given)), now)
        [item] = await _shown(db, workspace_id, [row], now)
        return item


@router.delete(
    "/{webhook_id}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[needs(Permission.WEBHOOKS_WRITE)]
)
async def delete_webhook(
    webhook_id: UUID, opened: Opened, db: Db, workspace_id: WorkspaceId, unchanged: Unchanged
) -> None:
    """Delete a webhook with its log and whatever was on its way."""
    row = await webhooks.get(db, webhook_id, lock=True)
    if unchanged.asked:
        [item] = await _shown(db, workspace_id, [row], opened.clock.now())
        unchanged.check(item)
    await webhooks.delete(db, row)


@router.post(
    "/{webhook_id}/rotate-secret",
    status_code=status.HTTP_201_CREATED,
    dependencies=[needs(Permission.WEBHOOKS_WRITE)],
    openapi_extra=SHOWN_ONCE,
)
async def rotate_secret(
    webhook_id: UUID,
    opened: Opened,
    asker: Asker,
    db: Db,
    workspace_id: WorkspaceId,
    body: RotateSecretIn = _FOR_A_DAY,
) -> WebhookMade:
    """Sign by a new secret, which is shown this once, and for a while by the old one as well.

    Two sign at most: whoever rotates again meanwhile ends the older one.
    """
    now, secret = opened.clock.now(), _given(body.secret)
    row = await webhooks.get(db, webhook_id, lock=True)
    await as_now(db, asker, Permission.WEBHOOKS_WRITE, now)
    until = now + timedelta(hours=body.overlap_hours) if body.overlap_hours else None
    await webhooks.rotate(db, row, _sealed(opened, secret, webhook_id), until)
    [item] = await _shown(db, workspace_id, [row], now)
    return WebhookMade(id=row.id, secret=secret, details=item)


def shown(row: Webhook, pending: int, now: datetime) -> WebhookOut:
    """What is past is not shown."""
    rests = row.rests_until if row.rests_until and row.rests_until > now else None
    old = row.old_secret_until if row.old_secret_until and row.old_secret_until > now else None
    return WebhookOut.model_validate(
        {**vars(row), "pending": pending, "rests_until": rests, "old_secret_until": old}
    )


async def _shown(
    db: AsyncSession, workspace_id: UUID, rows: Sequence[Webhook], now: datetime
) -> list[WebhookOut]:
    pending = await webhooks.pending(db, workspace_id, [row.id for row in rows])
    return [shown(row, pending[row.id], now) for row in rows]


async def _look_at(opened: Stack, url: str) -> None:
    """Raises `Invalid` for an address to which nothing would ever be sent."""
    if "#" in url:
        raise Invalid("What stands after a # is never sent: take it out.", "/url")
    try:
        await opened.egress.try_out(url)
    except EgressRefused as refused:
        raise Invalid(refused.message, "/url") from None
    except HTTPError as error:
        raise Invalid(str(error), "/url") from None


def _given(secret: SecretStr | None) -> str:
    return new_secret() if secret is None else secret.get_secret_value()


def _sealed(opened: Stack, secret: str, webhook_id: UUID) -> str:
    return opened.sealer.seal(secret, f"webhook:{webhook_id}")
