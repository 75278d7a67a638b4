"""Callbacks: whoever a flow called says what became of its members, and they go on by it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import Path, Request
from pydantic import AfterValidator, Field, StringConstraints, model_validator
from sqlalchemy.ext.asyncio import AsyncSession

from api import limits
from api.callers import at, recognise
from api.manners import Feature
from api.people import ProfileChange, item_of
from api.shapes import In, Out, example
from api.stack import Opened, Stack
from domain.comparisons import storable
from domain.errors import NotFound
from domain.flow_calls import MOST
from domain.tokens import About, Tokens
from models.calls import Outcome
from models.queries import calls, people_lock, profiles_written
from models.queries.calls import Heard, Said

router = Feature(prefix="/callbacks", tags=["flows"])

_MEMBER = "0199f1c2-a4b3-7a22-9d5e-6f7a8b9c0d1e"
_NOWHERE = "There is no call that this answers: use the callback_url as it was posted."


class MemberIn(In):
    member: UUID = Field(description="As the call named them.")
    outcome: Outcome = Field(description="done: they go on to `then`. failed: to `otherwise`.")
    reason: (
        Annotated[str, StringConstraints(strip_whitespace=True, max_length=500), AfterValidator(storable)]
        | None
    ) = Field(None, description="Why, for whoever reads their history.")
    attributes: dict[str, Any] = Field(
        default_factory=dict,
        description="What was found out about the person: written as by `PATCH /profiles/{id}`, before they "
        "go on. Of who does not go on by this callback nothing is written.",
    )


class CallbackIn(In):
    """What became of some members, each named once, or with `outcome` of all who are not answered for yet."""

    members: list[MemberIn] | None = Field(None, min_length=1, max_length=MOST)
    outcome: Outcome | None = None

    model_config = example(
        {
            "members": [
                {"member": _MEMBER, "outcome": "done", "attributes": {"company": "Groove Records"}},
                {
                    "member": "0199f1c2-a4b3-7a22-9d5e-6f7a8b9c0d1f",
                    "outcome": "failed",
                    "reason": "Nothing is known of them.",
                },
            ]
        }
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.members is None) == (self.outcome is None):
            raise ValueError('Send "members", or an "outcome" for all of them: one of the two.')
        return self


class CallbackOut(Out):
    """How many members go on by this callback, and why the others do not."""

    taken: int
    late: int = Field(description="Their time was over, their journey, or the flow: nothing comes of it.")
    repeated: int = Field(description="They were answered for before: nothing comes of it.")
    unknown: int = Field(description="They are no members of this call.")

    model_config = example({"taken": 1, "late": 0, "repeated": 0, "unknown": 1})


Token = Annotated[
    str,
    Path(
        max_length=200,
        description="The end of the `callback_url` that was posted: whoever has it may answer that call.",
    ),
]


@router.post("/{callback_token}")
async def answer_call(
    callback_token: Token, body: CallbackIn, request: Request, opened: Opened
) -> CallbackOut:
    """Answer a call by a flow, in one request or in many. It takes no key: the address is the proof.

    Each member goes on once, by the first answer that comes in time; sending it again changes nothing.
    """
    workspace_id, call_id = await _called(callback_token, request, opened)
    now = opened.clock.now()
    said = {each.member: each for each in reversed(body.members or ())}  # Of two, the first is meant.
    enriched = any(each.attributes for each in said.values())
    async with opened.sessions(workspace_id) as db:
        if enriched:  # Before anything else is held, as everybody does who writes to profiles.
            await people_lock.take(db, workspace_id)
        call = await calls.find(db, call_id)
        if call is None:
            raise NotFound(_NOWHERE)
        heard = await calls.answer(db, workspace_id, call_id, call, body.outcome or _plain(said), now)
        if enriched:
            await _enrich(db, workspace_id, body.members or (), said, heard, now)
    verdicts = Counter(heard.ignored.values())
    known = [each.member for each in body.members or () if each.member in {*heard.taken, *heard.ignored}]
    return CallbackOut(
        taken=len(heard.taken),
        late=verdicts["late"],
        repeated=verdicts["repeated"] + len(known) - len({*known}),
        unknown=len(body.members or ()) - len(known),
    )


async def _called(token: str, request: Request, opened: Stack) -> tuple[UUID, UUID]:
    """The workspace and the call that the token names. Raises NotFound, whatever is wrong with it."""
    named = Tokens(opened.settings.signing_key.encode()).read(token, About.CALL)
    if named is None:
        raise NotFound(_NOWHERE)
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        asker = await recognise(request, opened, credential, None)
        try:
            await at(opened, asker, named[0])
        except NotFound:
            raise NotFound(_NOWHERE) from None
    else:
        await limits.count(opened, request, named[1])
    return named


def _plain(said: Mapping[UUID, MemberIn]) -> list[Said]:
    return [Said(each.member, each.outcome, each.reason) for each in said.values()]


async def _enrich(
    db: AsyncSession,
    workspace_id: UUID,
    members: Sequence[MemberIn],
    said: Mapping[UUID, MemberIn],
    heard: Heard,
    now: datetime,
) -> None:
    """Write what was found out about those who go on. Raises `Invalid`: then nobody does."""
    new = [
        (nth, each)
        for nth, each in enumerate(members)
        if each is said[each.member] and each.attributes and each.member in heard.taken
    ]
    items = [item_of(ProfileChange(attributes=each.attributes), heard.taken[each.member]) for _, each in new]
    written = await profiles_written.write(db, workspace_id, items, now)
    for (nth, _), each in zip(new, written, strict=True):
        if each.error is not None:
            each.error.field = f"/members/{nth}{each.error.field or ''}"
            raise each.error
