"""What somebody allows, for a channel or a topic, and the addresses that are never written to."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query, status
from pydantic import Field, StringConstraints, model_validator

from api.callers import Asker, WorkspaceId, needs
from api.deps import Db, Pages
from api.manners import Feature
from api.people import Source
from api.shapes import In, Out, Page, example, page_of
from api.stack import Opened
from domain.errors import Conflict, Invalid, NotFound
from domain.profiles import ADDRESS_KIND, ConsentState, Purpose, SuppressionReason, checked
from domain.roles import Permission
from models.queries import consents, profiles, suppressions, topics

router = Feature(tags=["profiles"])

_ID = "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"
_CHANNELS = Literal["email", "sms", "whatsapp"]


class ConsentIn(In):
    """For a purpose, which is marketing on a channel or being tracked; or for a topic."""

    purpose: Purpose | None = None
    topic_id: UUID | None = None
    state: ConsentState
    source: Source = "api"

    model_config = example({"purpose": "email", "state": "granted", "source": "checkout"})

    @model_validator(mode="after")
    def _about_one_thing(self) -> "ConsentIn":
        if (self.purpose is None) == (self.topic_id is None):
            raise ValueError("Name either a purpose or a topic_id.")
        return self


class ConsentOut(Out):
    id: UUID
    purpose: Purpose
    topic_id: UUID | None = Field(description="Null: it is about the purpose as a whole.")
    state: ConsentState
    source: str
    at: datetime
    ended_at: datetime | None = Field(description="Null: it holds.")

    model_config = example(
        {
            "id": _ID,
            "purpose": "email",
            "topic_id": None,
            "state": "granted",
            "source": "checkout",
            "at": "2026-11-21T09:00:00Z",
            "ended_at": None,
        }
    )


class SuppressionIn(In):
    channel: _CHANNELS
    address: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=320)]
    reason: Literal[SuppressionReason.MANUAL, SuppressionReason.HARD_BOUNCE, SuppressionReason.COMPLAINED] = (
        SuppressionReason.MANUAL
    )

    model_config = example({"channel": "email", "address": "never@example.com", "reason": "manual"})


class SuppressionOut(Out):
    id: UUID
    channel: str
    address: str | None = Field(description="Null for who was erased: the address is kept as its hash alone.")
    reason: SuppressionReason
    source: str
    at: datetime

    model_config = example(
        {
            "id": _ID,
            "channel": "email",
            "address": "never@example.com",
            "reason": "manual",
            "source": "grace@records.example",
            "at": "2026-11-21T09:00:00Z",
        }
    )


@router.get("/profiles/{profile_id}/consents", dependencies=[needs(Permission.PROFILES_READ)])
async def list_consents(profile_id: UUID, db: Db, pages: Pages) -> Page[ConsentOut]:
    """All that somebody ever allowed or denied, the newest first; what has no `ended_at` holds."""
    who = await profiles.survivor(db, profile_id)
    found = await consents.history(db, who, pages.after, pages.limit)
    return page_of(
        [ConsentOut.model_validate(each) for each in found], [each.id for each in found], pages.limit
    )


@router.post(
    "/profiles/{profile_id}/consents",
    status_code=status.HTTP_201_CREATED,
    dependencies=[needs(Permission.PROFILES_WRITE)],
)
async def write_consent(profile_id: UUID, body: ConsentIn, opened: Opened, db: Db) -> ConsentOut:
    """Write down what somebody allows from now on, and by whom you know. Saying what holds changes nothing.

    A denial always holds. Over one, a grant takes the source that denied or the person's own word.
    """
    who, now = await profiles.alive(db, profile_id), opened.clock.now()
    if body.topic_id is not None:
        try:
            await topics.get(db, body.topic_id)
        except NotFound as error:
            raise Invalid(error.message, "/topic_id") from error
        await consents.choose(db, who, body.topic_id, body.state, body.source, now)
    elif body.purpose is not None:
        await profiles.consent(db, who, body.purpose, body.state, body.source, now)
    held = await consents.holding(db, who, body.purpose, body.topic_id)
    if held.state != body.state:
        raise Conflict(
            f'The person denied it, as "{held.source}" says: a grant takes the same source, or their own '
            'word, with the source "person".'
        )
    return ConsentOut.model_validate(held)


@router.get("/suppressions", dependencies=[needs(Permission.PROFILES_READ)])
async def list_suppressions(
    db: Db,
    pages: Pages,
    channel: Annotated[_CHANNELS | None, Query()] = None,
    address: Annotated[str | None, Query(min_length=3, max_length=320)] = None,
) -> Page[SuppressionOut]:
    """Addresses that are not written to, the newest first."""
    found = await suppressions.page(db, channel, address, pages.after, pages.limit)
    return page_of(
        [SuppressionOut.model_validate(row) for row in found], [row.id for row in found], pages.limit
    )


@router.post(
    "/suppressions",
    status_code=status.HTTP_201_CREATED,
    dependencies=[needs(Permission.PROFILES_WRITE)],
)
async def suppress(
    body: SuppressionIn, asker: Asker, opened: Opened, workspace_id: WorkspaceId, db: Db
) -> SuppressionOut:
    """Never write to an address again, whoever it belongs to. If it is suppressed, that stays as it is."""
    try:
        address = checked(ADDRESS_KIND[body.channel], body.address)
    except ValueError as error:
        raise Invalid(f"{error}.", "/address") from error
    await profiles.suppress(db, body.channel, address, body.reason, asker.name, opened.clock.now())
    return SuppressionOut.model_validate(await suppressions.current(db, body.channel, address))


@router.delete(
    "/suppressions/{suppression_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[needs(Permission.PROFILES_WRITE)],
)
async def end_suppression(suppression_id: UUID, opened: Opened, db: Db) -> None:
    """Let an address be written to again. Not where its owner unsubscribed, or was erased."""
    await suppressions.end(db, suppression_id, opened.clock.now())
