"""The workspace: who sends, where they are, and the manners that hold for every message."""

import re
from datetime import datetime, time
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator
from sqlalchemy.ext.asyncio import AsyncSession

from api.callers import WorkspaceId, needs
from api.deps import Db
from api.etags import Unchanged
from api.manners import Feature
from api.sender_links import choose
from api.shapes import In, Name, Out, absent, example
from api.stack import Opened, Stack
from domain.clock import time_zones
from domain.errors import Invalid
from domain.money import Code
from domain.roles import Permission
from domain.workspaces import Cap
from models.queries import segments_written, workspaces
from models.workspaces import Workspace

router = Feature(prefix="/workspace", tags=["workspace"])


def _zone(name: str) -> str:
    if name not in time_zones():
        raise ValueError(f'There is no time zone "{name}"; name one of IANA\'s, such as Europe/Berlin')
    return name


def _address(given: str) -> str:
    try:
        found = validate_email(
            given, check_deliverability=False, allow_smtputf8=False, globally_deliverable=False
        )
    except EmailNotValidError as error:
        raise ValueError(f"This is no email address: {error}") from error
    assert found.ascii_email is not None, "Without SMTPUTF8 there is always an ASCII form."
    return found.ascii_email  # As SMTP says it: an international domain in punycode.


def _one_a_channel(caps: list[Cap]) -> list[Cap]:
    if len({cap.channel for cap in caps}) < len(caps):
        raise ValueError("There can be one cap for each channel, so not two periods; keep one of them")
    return caps


def _to_the_minute(value: time) -> time:
    if value.tzinfo is not None:
        raise ValueError("Give a time of day without an offset: it is meant in each profile's own zone")
    return value


_DEFAULT_PORTS = {"http": 80, "https": 443}


def _origin(given: str) -> str:
    """As browsers send it: in small letters, and without the port that goes without saying (RFC 6454)."""
    if given == "*":
        return given
    try:
        parts = urlsplit(given)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    bare = host and given.isascii() and f"{parts.scheme}://{parts.netloc}".lower() == given.lower()
    if not host or not bare or "@" in given or not re.fullmatch(r"[a-z0-9.\-_:]+", host):
        raise ValueError('Write an origin as scheme://host[:port], such as https://shop.example, or "*"')
    named = f"[{host}]" if ":" in host else host
    shown_port = "" if port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{port}"
    return f"{parts.scheme}://{named}{shown_port}"


def _each_once(origins: list[str]) -> list[str]:
    return list(dict.fromkeys(origins))


Zone = Annotated[str, AfterValidator(_zone)]
Address = Annotated[str, AfterValidator(_address)]
Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\r\n]*$")
]
Lines = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
Origin = Annotated[str, Field(max_length=300), AfterValidator(_origin)]
Origins = Annotated[list[Origin], Field(max_length=100), AfterValidator(_each_once)]
# Written out, since JSON Schema's `time` is one with an offset (RFC 3339).
_CLOCK = r"^([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?$"
TimeOfDay = Annotated[
    time, AfterValidator(_to_the_minute), WithJsonSchema({"type": "string", "pattern": _CLOCK})
]
Caps = Annotated[list[Cap], AfterValidator(_one_a_channel)]


class QuietHours(In):
    """When no marketing is sent, in each profile's own time zone. It may span midnight."""

    start: TimeOfDay = Field(alias="from")
    until: TimeOfDay

    model_config = example({"from": "21:00", "until": "08:00"}) | ConfigDict(serialize_by_alias=True)

    @model_validator(mode="after")
    def has_an_end(self) -> "QuietHours":
        if self.start == self.until:
            raise ValueError("Quiet hours that never end send nothing; give two different times, or null")
        return self


class WorkspaceChange(In):
    """What to change; the rest stays."""

    name: Name = Field(default_factory=absent)
    sender_name: Line | None = None
    sender_email: Address | None = Field(
        None,
        description="Whom mail is from. One that is not verified is mailed a link; until somebody follows "
        "it, mail comes from the one before.",
    )
    postal_address: Lines | None = Field(None, description="It stands in every mail; many laws ask for it.")
    time_zone: Zone = Field(default_factory=absent, description="IANA name: days and weeks begin there.")
    currency: Code = Field(default_factory=absent, description="ISO 4217, of orders that name none.")
    caps: Caps = Field(default_factory=absent, description="The most marketing for one profile.")
    quiet_hours: QuietHours | None = None
    unknown_policy: Literal["leave", "resend"] = Field(
        default_factory=absent,
        description="What to do with messages of which nobody can say whether they were sent. It is asked "
        "once for each, some minutes after; what was left then stays left.",
    )
    soft_bounce_limit: Annotated[int, Field(strict=True, ge=1, le=100)] = Field(
        default_factory=absent,
        description="So many messages that an address did not take for now, within `soft_bounce_days` and "
        "with nothing delivered between, suppress it as a hard bounce does.",
    )
    soft_bounce_days: Annotated[int, Field(strict=True, ge=1, le=90)] = Field(default_factory=absent)
    sms_help: Lines | None = Field(
        None, description="What HELP is answered with by SMS, where the provider does not answer it itself."
    )
    origins: Origins = Field(
        default_factory=absent,
        description='The origins of pages that may use public keys: scheme://host[:port], or "*" for any.',
    )

    model_config = example(
        {
            "sender_name": "Ada's Records",
            "sender_email": "hello@records.example",
            "postal_address": "Ada's Records, 1 Groove Street, Springfield",
            "time_zone": "America/New_York",
            "caps": [{"channel": "email", "limit": 3, "period": "week"}],
            "quiet_hours": {"from": "21:00", "until": "08:00"},
            "origins": ["https://shop.example"],
        }
    )


EXAMPLE = {
    "id": "01920000-0000-7000-8000-000000000001",
    "name": "Ada's Records",
    "sender_name": "Ada's Records",
    "sender_email": "hello@records.example",
    "sender_verified": True,
    "tracking_host": None,
    "postal_address": "Ada's Records, 1 Groove Street, Springfield",
    "time_zone": "America/New_York",
    "currency": "USD",
    "caps": [{"channel": "email", "limit": 3, "period": "week"}],
    "quiet_hours": {"from": "21:00:00", "until": "08:00:00"},
    "unknown_policy": "leave",
    "soft_bounce_limit": 5,
    "soft_bounce_days": 14,
    "sms_help": None,
    "origins": ["https://shop.example"],
    "updated_at": "2026-11-21T09:00:00Z",
}


class WorkspaceOut(Out):
    id: UUID
    name: str
    sender_name: str | None
    sender_email: str | None
    sender_verified: bool = Field(description="Whether mail may come from it: see /api/v1/senders.")
    tracking_host: str | None = Field(description="Where links lead: POST /api/v1/workspace/tracking-host.")
    postal_address: str | None
    time_zone: str
    currency: str
    caps: list[Cap]
    quiet_hours: QuietHours | None
    unknown_policy: Literal["leave", "resend"]
    soft_bounce_limit: int
    soft_bounce_days: int
    sms_help: str | None
    origins: list[str]
    updated_at: datetime

    model_config = example(EXAMPLE)


@router.get("", dependencies=[needs(Permission.WORKSPACE_READ)])
async def read_workspace(workspace_id: WorkspaceId, db: Db) -> WorkspaceOut:
    """The workspace and its settings."""
    return shown(await workspaces.get(db, workspace_id))


@router.patch("", dependencies=[needs(Permission.WORKSPACE_WRITE)])
async def change_workspace(
    change: WorkspaceChange, opened: Opened, workspace_id: WorkspaceId, db: Db, unchanged: Unchanged
) -> WorkspaceOut:
    """Change the settings that are given. They hold for whatever is sent from now on.

    Another time zone or currency changes what rules mean: all segments are looked at again.
    """
    values = columns(change)
    if not values:
        raise Invalid("Name at least one field to change.")
    if unchanged.asked:
        unchanged.check(shown(await workspaces.get(db, workspace_id, lock=True)))
    return await written(opened, db, workspace_id, values)


async def written(
    opened: Stack, db: AsyncSession, workspace_id: UUID, values: dict[str, Any]
) -> WorkspaceOut:
    """The workspace with these columns."""
    if values.keys() & {"time_zone", "currency"}:
        await segments_written.ask_all_again(db, opened.clock.now())
    row = await workspaces.change(db, workspace_id, values)
    if "sender_email" in values:
        await choose(opened, db, workspace_id, row.sender_email)
        await db.refresh(row)
    return shown(row)


def columns(change: WorkspaceChange) -> dict[str, Any]:
    """What is given, under the names of `models.workspaces`."""
    values = change.model_dump(mode="json", exclude_unset=True, exclude={"quiet_hours"})
    if "quiet_hours" in change.model_fields_set:
        quiet = change.quiet_hours
        values |= {"quiet_from": quiet and quiet.start, "quiet_until": quiet and quiet.until}
    return values


def shown(row: Workspace) -> WorkspaceOut:
    quiet = None
    if row.quiet_from is not None and row.quiet_until is not None:
        quiet = QuietHours.model_validate({"from": row.quiet_from, "until": row.quiet_until})
    verified = row.sender_email is not None and row.sender_email == row.sending_email
    return WorkspaceOut.model_validate({**vars(row), "quiet_hours": quiet, "sender_verified": verified})
