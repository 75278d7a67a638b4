"""Single messages: one call sends one, another tells its story."""

import asyncio
import re
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Query, status
from pydantic import Field, ValidationError

from api import words
from api.callers import Asker, WorkspaceId, needs
from api.deps import Db, Pages, cursor_of
from api.errors import at_fault
from api.manners import Feature
from api.moments import aware
from api.routes.messages import Class, MessageOut, State, shown
from api.routes.previews import NOBODY
from api.shapes import In, Out, Page, example
from api.singles import Checked, Desk, SingleIn
from api.stack import Opened
from domain.channels import Channel
from domain.errors import Invalid, NotFound, Refused
from domain.messages import Fate, MessageClass, MessageState
from domain.profiles import IdentityKind, normal
from domain.roles import Permission
from domain.singles import MOST
from domain.tokens import Tokens
from models.queries import attachments, messages, singles, templates, workspaces
from models.queries.messages import Singles

router = Feature(prefix="/messages", tags=["messages"])

_ID = "0199f1c2-a4b3-7a22-9d5e-6f7a8b9c0d1e"
_LETTER: dict[str, Any] = {
    "channel": "email",
    "body": {"subject": "Your receipt", "html": "<p>Thank you, {{ first_name | default: 'friend' }}.</p>"},
    "to": {"profile": "ada@example.com"},
}


class QueuedOut(Out):
    """A message that is on its way."""

    id: UUID
    state: Literal["queued"]
    channel: Channel
    why: str | None = Field(description='Why this channel, where "best" was asked for.')

    model_config = example({"id": _ID, "state": "queued", "channel": "email", "why": None})


class SinglesIn(In):
    messages: list[dict[str, Any]] = Field(
        min_length=1, max_length=MOST, description="Each as for POST /messages."
    )

    model_config = example({"messages": [_LETTER, _LETTER | {"to": {"email": "grace@example.com"}}]})


class FaultOut(Out):
    pointer: str = Field(description="Into that message.")
    detail: str


class ResultOut(Out):
    """What became of one of them."""

    index: int
    id: UUID | None = Field(description="Null where it was refused.")
    state: Literal["queued"] | None = Field(description="Null where it was refused.")
    channel: Channel | None
    why: str | None
    errors: list[FaultOut]


class ResultsOut(Out):
    results: list[ResultOut]

    model_config = example(
        {
            "results": [
                {"index": 0, "id": _ID, "state": "queued", "channel": "email", "why": None, "errors": []}
            ]
        }
    )


class ToldOut(Out):
    at: datetime
    what: str


class StoryOut(MessageOut):
    """A line of the ledger with its story."""

    expires_at: datetime | None
    story: list[ToldOut] = Field(
        description="What happened, in order. What it waits for comes last, now or at the time it is due."
    )

    model_config = example(
        {
            "id": _ID,
            "profile_id": "0199f1c2-a4b2-7e11-8c4d-5e6f7a8b9c0d",
            "address": "ada@example.com",
            "state": "accepted",
            "reason": None,
            "detail": None,
            "class": "transactional",
            "source_kind": "outbox",
            "source_id": "01920000-0000-7000-8000-000000000001",
            "step": "single",
            "attempts": 1,
            "provider_id": "0100018c",
            "fate": "delivered",
            "created_at": "2026-11-21T09:00:00Z",
            "due_at": "2026-11-21T09:00:00Z",
            "claimed_at": "2026-11-21T09:00:00.3Z",
            "sent_at": "2026-11-21T09:00:00.3Z",
            "closed_at": "2026-11-21T09:00:00.5Z",
            "opened_at": None,
            "clicked_at": None,
            "channel": "email",
            "provider": "0199f1c2-a4b8-7a22-9d5e-6f7a8b9c0d1e",
            "expires_at": None,
            "story": [
                {"at": "2026-11-21T09:00:00Z", "what": 'The key "shop" asked for it.'},
                {"at": "2026-11-21T09:00:00.3Z", "what": "Its turn came, for ada@example.com."},
                {"at": "2026-11-21T09:00:00.3Z", "what": 'It went out by "Main".'},
                {"at": "2026-11-21T09:00:00.5Z", "what": "It was accepted, as 0100018c."},
                {"at": "2026-11-21T09:00:02Z", "what": "It was delivered."},
            ],
        }
    )


class FileOut(Out):
    name: str
    content_type: str
    size: int = Field(description="Bytes.")


class ContentOut(Out):
    """What a message said."""

    channel: Channel
    content: dict[str, Any] = Field(description="For email {subject, html, text}. Links lead nowhere.")
    attachments: list[FileOut]

    model_config = example(
        {
            "channel": "email",
            "content": {
                "subject": "Your receipt",
                "html": "<p>Thank you, Ada.</p>",
                "text": "Thank you, Ada.",
            },
            "attachments": [{"name": "receipt.pdf", "content_type": "application/pdf", "size": 48213}],
        }
    )


@router.post("", status_code=status.HTTP_202_ACCEPTED, dependencies=[needs(Permission.MESSAGES_SEND)])
async def send_message(
    body: SingleIn, opened: Opened, asker: Asker, workspace_id: WorkspaceId, db: Db
) -> QueuedOut:
    """Send one message to one person. It is safe when we answer, and on its way within moments."""
    desk = await _desk(db, opened, asker, workspace_id)
    checked = await desk.check(body)
    [id_] = await singles.write(db, workspace_id, [checked.single], desk.now)
    return QueuedOut(id=id_, state="queued", channel=checked.single.channel, why=checked.why)


@router.post("/batch", status_code=status.HTTP_202_ACCEPTED, dependencies=[needs(Permission.MESSAGES_SEND)])
async def send_messages(
    body: SinglesIn, opened: Opened, asker: Asker, workspace_id: WorkspaceId, db: Db
) -> ResultsOut:
    """Send up to 100 messages. A bad one is refused by its index, and the others go.

    Where none can go, the answer is 422.
    """
    desk = await _desk(db, opened, asker, workspace_id)
    good: dict[int, Checked] = {}
    wrong: dict[int, list[Invalid]] = {}
    for index, each in enumerate(body.messages):
        try:
            good[index] = await desk.check(SingleIn.model_validate(each))
        except ValidationError as error:
            wrong[index] = [Invalid(one.detail, one.pointer) for one in at_fault(error, each, SingleIn)]
        except (Invalid, Refused) as error:
            wrong[index] = [Invalid(one.message, one.field) for one in (error, *error.also)]
        await asyncio.sleep(0)  # Words are compiled here, and others want to be answered, too.
    if not good:
        first, *others = (
            Invalid(one.message, f"/messages/{index}{one.field or ''}")
            for index, errors in wrong.items()
            for one in errors
        )
        first.also = [*others]
        raise first
    ids = await singles.write(db, workspace_id, [each.single for each in good.values()], desk.now)
    results = {index: _refused(index, errors) for index, errors in wrong.items()}
    for id_, (index, checked) in zip(ids, good.items(), strict=True):
        channel, why = checked.single.channel, checked.why
        results[index] = ResultOut(index=index, id=id_, state="queued", channel=channel, why=why, errors=[])
    return ResultsOut(results=[results[index] for index in sorted(results)])


def _refused(index: int, errors: list[Invalid]) -> ResultOut:
    faults = [FaultOut(pointer=one.field or "", detail=one.message) for one in errors]
    return ResultOut(index=index, id=None, state=None, channel=None, why=None, errors=faults)


async def _desk(db: Db, opened: Opened, asker: Asker, workspace_id: UUID) -> Desk:
    if not await workspaces.is_open(db):
        raise NotFound("This workspace was closed.")
    workspace = await workspaces.get(db, workspace_id)
    return Desk(db, workspace, asker, opened.settings.public_url, opened.clock.now())


@router.get("", dependencies=[needs(Permission.MESSAGES_READ)])
async def list_messages(
    *,
    workspace_id: WorkspaceId,
    db: Db,
    pages: Pages,
    address: Annotated[
        str | None,
        Query(description="To whoever has this email address or phone number now, or to it as it is."),
    ] = None,
    state: State = None,
    channel: Annotated[Channel | None, Query(description="Only by this channel.")] = None,
    fate: Annotated[Fate | None, Query(description="Only those of which this was reported last.")] = None,
    message_class: Class = None,
    since: Annotated[datetime | None, Query(description="Asked for then or later.")] = None,
    until: Annotated[datetime | None, Query(description="Asked for before then.")] = None,
) -> Page[MessageOut]:
    """Single messages and what became of each, the newest first. Those of campaigns and flows have lists of
    their own.

    Of a long list in which little is asked for, a page may hold fewer than `limit`, or none, and still have a
    `next_cursor`.
    """
    begin, end = await aware(db, workspace_id, since), await aware(db, workspace_id, until)
    kind = IdentityKind.EMAIL if address is not None and "@" in address else IdentityKind.PHONE
    # A plus that nobody wrote as %2B came as a space.
    meant = None if address is None else normal(kind, re.sub("^ ", "+", address))
    which = Singles(meant, state, channel, message_class, begin, end, fate)
    found, onward = await messages.singles_page(db, workspace_id, which, pages.after, pages.limit)
    items = [shown(row) for row in found]
    return Page[MessageOut](items=items, next_cursor=cursor_of(onward) if onward else None)


@router.get("/{message_id}", dependencies=[needs(Permission.MESSAGES_READ)])
async def read_message(message_id: UUID, opened: Opened, db: Db) -> StoryOut:
    """Any message of the ledger, with its story in words: why it went or not, how, and what came of it."""
    message = await singles.get(db, message_id)
    told = await singles.told(db, message, opened.clock.now())
    return StoryOut.model_validate(
        {
            **shown(message).model_dump(),
            "expires_at": message.expires_at,
            "story": told,
        }
    )


@router.get("/{message_id}/content", dependencies=[needs(Permission.MESSAGES_CONTENT)])
async def read_message_content(
    message_id: UUID, opened: Opened, workspace_id: WorkspaceId, db: Db
) -> ContentOut:
    """What a message said, as it was, for as long as that is kept."""
    message = await singles.get(db, message_id)
    kept = timedelta(days=opened.settings.content_kept_days)
    is_over = message.closed_at is not None and message.closed_at < opened.clock.now() - kept
    if is_over or (message.holes is None and message.state != MessageState.QUEUED):
        raise NotFound(
            f"What this message said is not kept: it is for {kept.days} days, and not of the erased."
        )
    if message.holes is None:
        raise NotFound("This message is not written yet: its words are filled when it goes.")
    said = (await templates.said(db, [message.template_version_id]))[message.template_version_id]
    workspace = await workspaces.get(db, workspace_id)
    marketing = message.message_class != MessageClass.TRANSACTIONAL
    made = words.compiled(said, workspace, opened.settings.public_url, way_out=marketing)
    token = Tokens(opened.settings.signing_key.encode()).sign(workspace_id, NOBODY)
    files = await attachments.listed(db, workspace_id, message.id)
    return ContentOut(
        channel=Channel(message.channel),
        content=words.shown(made, tuple(message.holes), token, tracked=bool(message.tracked)),
        attachments=[FileOut.model_validate(file) for file in files],
    )
