"""Failures: what did not work, whose matter it is, how to mend it, and trying again."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import Depends, Query, status
from pydantic import Field, StringConstraints
from uuid_utils.compat import uuid7

from api.callers import Asker, Caller, WorkspaceId, needs
from api.deps import Db, Pages
from api.manners import Feature
from api.moments import aware
from api.shapes import In, Name, Out, Page, example, page_of
from api.stack import Opened
from domain.channels import Channel
from domain.errors import Conflict, Invalid, NotFound
from domain.failures import Category, Failure, Subject, discreet
from domain.nesting import DEEPEST, depth
from domain.roles import Permission
from domain.routing import BUILT_IN
from domain.stories import asked
from models.failures import Origin
from models.queries import failures, failures_found, failures_retried, provider_accounts
from models.queries.failures_found import MOST, Which
from models.queries.failures_retried import How

router = Feature(prefix="/failure-logs", tags=["failures"])

LARGEST_DETAIL = 16 * 1024  # Bytes, as JSON.
SHOWN = 10  # Failures of those that are not tried again for one reason.
_ID = "0199f1c2-a4b8-7f66-909b-0c1d2e3f4051"
_MESSAGE = "0199f1c2-a4b3-7a22-9d5e-6f7a8b9c0d1e"
_CAMPAIGN = "0199f1c2-a4b2-7e11-8c4d-5e6f7a8b9c0d"


class FailureOut(Out):
    """Something that did not work."""

    id: UUID
    at: datetime
    subject: Subject = Field(description="What failed.")
    subject_id: str = Field(description="Its id: a message's, a workflow's, a webhook's.")
    title: str | None = Field(description="What failed, where its subject does not say it.")
    category: Category = Field(description="Whose matter it is.")
    reason: str = Field(description="What was said, without addresses of people.")
    remedy: str = Field(description="What to do about it.")
    retryable: bool = Field(description="Whether it can be tried again as it is.")
    source_kind: str | None = Field(description="campaign, flow, outbox, webhook or import.")
    source_id: UUID | None
    provider_id: UUID | None
    detail: dict[str, Any]
    origin: Origin
    alert_id: UUID | None = Field(description="Those of one kind that were told of together share it.")
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    retried_at: datetime | None
    retried_as: UUID | None = Field(description="The message, or the delivery, that goes in its place.")

    model_config = example(
        {
            "id": _ID,
            "at": "2026-11-21T09:00:00Z",
            "subject": "message",
            "subject_id": _MESSAGE,
            "title": None,
            "category": "provider",
            "reason": "451 4.3.2 The system is shutting down",
            "remedy": "Look at the provider's status; try again when it is well, or go by another provider.",
            "retryable": True,
            "source_kind": "campaign",
            "source_id": _CAMPAIGN,
            "provider_id": "0199f1c2-a4b8-7a22-9d5e-6f7a8b9c0d1e",
            "detail": {"state": "failed", "channel": "email", "attempts": 36},
            "origin": "campanile",
            "alert_id": None,
            "acknowledged_at": None,
            "acknowledged_by": None,
            "retried_at": None,
            "retried_as": None,
        }
    )


class FailureIn(In):
    """A failure of somebody else's program, such as a workflow of n8n."""

    title: Name = Field(description="What failed.")
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4_000)]
    category: Category = Category.OURS
    remedy: Annotated[str, StringConstraints(strip_whitespace=True, max_length=1_000)] = Field(
        "Look at the program that noted it.", description="What to do about it."
    )
    detail: dict[str, Any] = Field(
        default_factory=dict, description=f"Whatever helps, up to {LARGEST_DETAIL // 1024} KiB of JSON."
    )
    reference: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = Field(
        None, description="Yours: the same one is noted once, however often it is sent."
    )
    tell: bool = Field(
        False,
        description="Whether `job.failed` tells of it. What acts on `job.failed` must not ask for that: it "
        "would hear of itself.",
    )

    model_config = example(
        {
            "title": "n8n: daily-campaigns",
            "reason": "The node Start campaign answered 409.",
            "category": "configuration",
            "remedy": "Look at the execution in n8n.",
            "detail": {"execution": "4711"},
            "reference": "n8n/4711",
        }
    )


class WhichIn(In):
    """Which failures; what is left out does not matter."""

    category: Category | None = None
    subject: Subject | None = None
    source_id: UUID | None = None
    provider_id: UUID | None = Field(None, description="By which they went.")
    alert_id: UUID | None = None
    since: datetime | None = Field(None, description="Noted then or later.")
    until: datetime | None = Field(None, description="Noted before then.")

    model_config = example({"category": "provider", "since": "2026-11-21T09:00:00Z"})


class RetryIn(In):
    """How to try again."""

    provider_id: UUID | None = Field(
        None, description="Messages go by this account and no other; left out, by their route."
    )
    unknown: bool = Field(
        False,
        description="Messages of which nobody knows whether they were sent as well: some may arrive twice.",
    )

    model_config = example({"unknown": False})


_AS_IT_WAS = RetryIn()


class RetryAllIn(RetryIn):
    ids: Annotated[list[UUID], Field(min_length=1, max_length=1_000)] | None = Field(
        None, description="These failures. Either these or `where`."
    )
    where: WhichIn | None = Field(None, description="Those like this that may be tried again.")

    model_config = example({"where": {"category": "provider"}, "unknown": False})


class RefusedOut(Out):
    """Failures that are not tried again for one reason."""

    why: str
    count: int
    failure_ids: list[UUID] = Field(description=f"The first {SHOWN} of them.")


class RetriedOut(Out):
    retried: int = Field(description="How many go out again.")
    refused: list[RefusedOut]
    more: bool = Field(description=f"There are more than {MOST:,} like this: ask again.")

    model_config = example(
        {
            "retried": 240,
            "refused": [{"why": "It was sent again already.", "count": 1, "failure_ids": [_ID]}],
            "more": False,
        }
    )


class AgainOut(Out):
    failure_id: UUID
    retried_as: UUID = Field(description="The message, or the delivery, that goes in its place.")

    model_config = example({"failure_id": _ID, "retried_as": _MESSAGE})


class AcknowledgedOut(Out):
    acknowledged: int = Field(description="How many nobody had seen to before.")

    model_config = example({"acknowledged": 12})


class SumOut(Out):
    category: Category
    failures: int
    open: int = Field(description="Nobody has seen to them.")
    retryable: int = Field(description="Of those that are open: they can be tried again.")
    last_at: datetime


class SummaryOut(Out):
    """How many failures there are, by whose matter they are."""

    failures: int
    open: int
    categories: list[SumOut]

    model_config = example(
        {
            "failures": 20000,
            "open": 12,
            "categories": [
                {
                    "category": "provider",
                    "failures": 20000,
                    "open": 12,
                    "retryable": 12,
                    "last_at": "2026-11-21T09:00:00Z",
                }
            ],
        }
    )


async def which(
    db: Db,
    workspace_id: WorkspaceId,
    category: Category | None = None,
    subject: Subject | None = None,
    source_id: Annotated[UUID | None, Query(description="A campaign, a flow, a webhook.")] = None,
    provider_id: UUID | None = None,
    alert_id: UUID | None = None,
    since: Annotated[datetime | None, Query(description="Noted then or later.")] = None,
    until: Annotated[datetime | None, Query(description="Noted before then.")] = None,
    acknowledged: Annotated[bool | None, Query(description="Whether somebody saw to them.")] = None,
    retryable: Annotated[
        bool | None, Query(description="true: those that can be tried again and were not.")
    ] = None,
) -> Which:
    begin, end = await aware(db, workspace_id, since), await aware(db, workspace_id, until)
    return Which(category, subject, source_id, provider_id, alert_id, begin, end, acknowledged, retryable)


Asked = Annotated[Which, Depends(which)]


@router.get("", dependencies=[needs(Permission.FAILURES_READ)])
async def list_failures(db: Db, workspace_id: WorkspaceId, pages: Pages, asked: Asked) -> Page[FailureOut]:
    """What failed, the newest first. Kept for 90 days."""
    found = await failures_found.page(db, workspace_id, asked, pages.after, pages.limit)
    return page_of([FailureOut.model_validate(row) for row in found], [row.id for row in found], pages.limit)


@router.get("/summary", dependencies=[needs(Permission.FAILURES_READ)])
async def sum_failures_up(db: Db, workspace_id: WorkspaceId, asked: Asked) -> SummaryOut:
    """How many there are by category, with the same filters as the list."""
    sums = await failures_found.summary(db, workspace_id, asked)
    return SummaryOut(
        failures=sum(each.failures for each in sums),
        open=sum(each.open for each in sums),
        categories=[SumOut.model_validate(each) for each in sums],
    )


@router.get("/{failure_id}", dependencies=[needs(Permission.FAILURES_READ)])
async def read_failure(failure_id: UUID, db: Db, workspace_id: WorkspaceId) -> FailureOut:
    """One of them."""
    return FailureOut.model_validate(await failures_found.get(db, workspace_id, failure_id))


@router.post("", status_code=status.HTTP_201_CREATED, dependencies=[needs(Permission.FAILURES_WRITE)])
async def note_failure(body: FailureIn, opened: Opened, db: Db, workspace_id: WorkspaceId) -> FailureOut:
    """Note that something outside of Campanile failed.

    A `reference` that was sent before answers with the failure as it was noted first.
    """
    if depth(body.detail) > DEEPEST:
        raise Invalid(f"Nest it at most {DEEPEST} levels deep.", "/detail")
    try:
        size = len(orjson.dumps(body.detail))
    except TypeError:
        raise Invalid("Leave out half characters, and numbers of more than 64 bits.", "/detail") from None
    if size > LARGEST_DETAIL:
        raise Invalid(f"Shorten this to {LARGEST_DETAIL // 1024} KiB of JSON.", "/detail")
    reference = body.reference or str(uuid7())
    failure = Failure(
        Subject.OUTSIDE,
        reference,
        body.category,
        discreet(body.reason),
        discreet(body.remedy),
        detail=body.detail,
        title=discreet(body.title),
        quiet=not body.tell,
    )
    await failures.note(db, workspace_id, [failure], opened.clock.now(), Origin.API)
    return FailureOut.model_validate(await failures_found.noted(db, workspace_id, Subject.OUTSIDE, reference))


@router.post("/acknowledge", dependencies=[needs(Permission.FAILURES_WRITE)])
async def acknowledge_failures(
    body: WhichIn, asker: Asker, opened: Opened, db: Db, workspace_id: WorkspaceId
) -> AcknowledgedOut:
    """Somebody sees to all of these that are open."""
    found = await _which(db, workspace_id, body)
    seen = await failures_found.acknowledge(db, workspace_id, found, asker.name, opened.clock.now())
    return AcknowledgedOut(acknowledged=seen)


@router.post("/{failure_id}/acknowledge", dependencies=[needs(Permission.FAILURES_WRITE)])
async def acknowledge_failure(
    failure_id: UUID, asker: Asker, opened: Opened, db: Db, workspace_id: WorkspaceId
) -> FailureOut:
    """Somebody sees to this one. Whoever did so first stays."""
    await failures_found.acknowledge_one(db, workspace_id, failure_id, asker.name, opened.clock.now())
    return FailureOut.model_validate(await failures_found.get(db, workspace_id, failure_id))


@router.post(
    "/retry",
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[needs(Permission.FAILURES_WRITE), needs(Permission.MESSAGES_SEND)],
)
async def retry_failures(
    body: RetryAllIn, asker: Asker, opened: Opened, db: Db, workspace_id: WorkspaceId
) -> RetriedOut:
    """Try again what failed, each once: never what was accepted, and what may have been only where asked.

    A message goes out as a new line of the ledger; whether it may go (consent, suppressions, caps) is asked
    again. A delivery of a webhook is replayed. Found by `where`, only what can succeed as it is is tried.
    """
    if (body.ids is None) is (body.where is None):
        raise Invalid(
            "Name the failures by `ids`, or say by `where` what they are like; one of both.", "/ids"
        )
    how = await _how(db, workspace_id, asker, body, named=body.ids is not None)
    if body.where is not None:
        found = await _which(db, workspace_id, body.where)
        ids = await failures_found.to_retry(db, workspace_id, found, unknown=body.unknown)
    else:
        ids = list(dict.fromkeys(body.ids or ()))
    done = await failures_retried.retry(db, workspace_id, ids, how, opened.clock.now())
    missing = [id_ for id_ in ids if id_ not in done.again and id_ not in done.refused]
    refused = done.refused | dict.fromkeys(missing, "There is no such failure.")
    return RetriedOut(
        retried=len(done.again),
        refused=[
            RefusedOut(why=why, count=len(of), failure_ids=of[:SHOWN])
            for why, of in failures_retried.by_reason(refused).items()
        ],
        more=len(ids) == MOST,
    )


@router.post(
    "/{failure_id}/retry",
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[needs(Permission.FAILURES_WRITE), needs(Permission.MESSAGES_SEND)],
)
async def retry_failure(
    failure_id: UUID,
    asker: Asker,
    opened: Opened,
    db: Db,
    workspace_id: WorkspaceId,
    body: RetryIn = _AS_IT_WAS,
) -> AgainOut:
    """Try one again, by another provider if one is named. 409 says why it is not."""
    how = await _how(db, workspace_id, asker, body)
    done = await failures_retried.retry(db, workspace_id, [failure_id], how, opened.clock.now())
    if failure_id in done.again:
        return AgainOut(failure_id=failure_id, retried_as=done.again[failure_id])
    if failure_id not in done.refused:
        raise NotFound(f"There is no failure {failure_id}; they are kept for 90 days.")
    raise Conflict(done.refused[failure_id])


async def _which(db: Db, workspace_id: UUID, body: WhichIn) -> Which:
    since = await aware(db, workspace_id, body.since)
    until = await aware(db, workspace_id, body.until)
    return Which(body.category, body.subject, body.source_id, body.provider_id, body.alert_id, since, until)


async def _how(db: Db, workspace_id: UUID, asker: Caller, body: RetryIn, *, named: bool = True) -> How:
    channel = None
    if body.provider_id == BUILT_IN:
        channel = Channel.EMAIL
    elif body.provider_id is not None:
        try:
            provider = await provider_accounts.get(db, body.provider_id)
        except NotFound as error:
            raise Invalid("There is no such provider; GET /providers lists yours.", "/provider_id") from error
        channel = Channel(provider.channel)
    note = asked(asker.kind, asker.name, "It goes in the place of one that failed or is unknown.")
    return How(asker.name, note, body.provider_id, channel, body.unknown, named)
