"""All people or events of a workspace, by a cursor on the server: however many they are, few are in memory.

Everything comes from one snapshot. Its transaction stays open for as long as whoever asked reads.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.profiles import IdentityKind, Purpose
from models.events import Event
from models.profiles import Consent, Identity, Profile, ProfileTag

ROWS = 2_000  # In memory at once.

PROFILE_COLUMNS = (
    "id",
    *("customer_id", "email", "phone", "anonymous_id"),
    *(f"consent_{purpose}" for purpose in Purpose),
    *("time_zone", "locale", "country", "tags", "created_at", "updated_at"),
)
EVENT_COLUMNS = (
    *("id", "received_at", "occurred_at", "name", "kind", "profile_id", "historical", "message_id"),
    *("properties", "context"),
)


def people(which: ColumnElement[bool] | None = None, attributes: Sequence[str] = ()) -> Select[Any]:
    """`PROFILE_COLUMNS` of those whom the condition on `profiles` picks, then each of these attributes by
    itself (None where it is missing), and all of them at last. Merged and erased profiles are nobody.
    """
    columns = (
        Profile.id,
        *map(
            _name,
            (IdentityKind.USER_ID, IdentityKind.EMAIL, IdentityKind.PHONE, IdentityKind.ANONYMOUS_ID),
        ),
        *map(_consent, Purpose),
        *(
            Profile.time_zone,
            Profile.locale,
            Profile.country,
            _tags(),
            Profile.created_at,
            Profile.updated_at,
        ),
        *(func.jsonb_extract_path_text(Profile.attributes, name) for name in attributes),
        Profile.attributes,
    )
    asked = select(*columns).where(Profile.merged_into.is_(None), Profile.erased_at.is_(None))
    return (asked if which is None else asked.where(which)).order_by(Profile.id)


def events(name: str | None, since: datetime | None, before: datetime | None) -> Select[Any]:
    """`EVENT_COLUMNS` of the events of this name that were received since then and before then."""
    which = (
        Event.name == name if name is not None else None,
        Event.received_at >= since if since is not None else None,
        Event.received_at < before if before is not None else None,
    )
    asked = select(*(getattr(Event, column) for column in EVENT_COLUMNS))
    return asked.where(*(each for each in which if each is not None)).order_by(Event.received_at, Event.id)


async def read(db: AsyncSession, asked: Select[Any]) -> AsyncIterator[Sequence[Sequence[Any]]]:
    """The rows of either, up to `ROWS` at a time."""
    found = await db.stream(asked.execution_options(yield_per=ROWS))
    async for part in found.partitions():
        yield part


def _name(kind: IdentityKind) -> ScalarSelect[str]:
    """The one that is written to, of those that a person goes by."""
    return (
        select(Identity.value)
        .where(
            Identity.workspace_id == Profile.workspace_id,
            Identity.profile_id == Profile.id,
            Identity.kind == kind,
        )
        .order_by(Identity.is_primary.desc(), Identity.value)
        .limit(1)
        .scalar_subquery()
    )


def _consent(purpose: Purpose) -> ScalarSelect[str]:
    return (
        select(Consent.state)
        .where(
            Consent.workspace_id == Profile.workspace_id,
            Consent.profile_id == Profile.id,
            Consent.purpose == purpose,
            Consent.ended_at.is_(None),
        )
        .limit(1)
        .scalar_subquery()
    )


def _tags() -> ScalarSelect[str]:
    return (
        select(func.string_agg(ProfileTag.tag, ", "))
        .where(ProfileTag.workspace_id == Profile.workspace_id, ProfileTag.profile_id == Profile.id)
        .scalar_subquery()
    )
