"""Single messages on their way in: what one must look like, and the line of the ledger that it becomes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, WithJsonSchema, model_validator
from sqlalchemy.ext.asyncio import AsyncSession

from activities.obstacles import lacking
from api import words
from api.callers import Caller
from api.shapes import In, example, under
from channels import registry
from domain.channels import Channel, address_kind, normal
from domain.errors import Invalid, NotFound, Refused
from domain.messages import MessageClass
from domain.reach import best
from domain.singles import (
    LARGEST_DATA,
    LARGEST_FILES,
    LONGEST_WAIT,
    MOST_FILES,
    check_storable,
    content_type,
    file_content,
    file_name,
)
from domain.stories import asked
from models.queries import bodies, reach, templates
from models.queries.attachments import File
from models.queries.profiles_found import Person
from models.queries.singles import Single
from models.templates import TemplateVersion
from models.workspaces import Workspace

BEST = "best"
# By which field of `to` a bare address is named.
_FIELDS = {
    Channel.EMAIL: "email",
    Channel.SMS: "phone",
    Channel.WHATSAPP: "phone",
    Channel.PUSH: "subscription",
    Channel.WEBHOOK: "url",
}


def _exactly_one(given: Any) -> Any:
    if isinstance(given, dict) and len([1 for value in given.values() if value is not None]) != 1:
        raise ValueError("Name one: a profile, an email, a phone, a url or a subscription.")
    return given


class ToIn(In):
    """Who gets it: somebody we know, or a bare address."""

    profile: str | None = Field(None, min_length=1, max_length=255, description="An id, email or user id.")
    email: str | None = Field(None, max_length=320)
    phone: str | None = Field(None, max_length=64, description="With its country's code: +49 170 1234567.")
    url: str | None = Field(None, max_length=2000, pattern="^https?://", description="For a webhook.")
    subscription: dict[str, Any] | None = Field(None, description="A browser's, for push, as it gave it.")


class AttachmentIn(In):
    name: Annotated[str, AfterValidator(file_name)]
    content_type: Annotated[str, AfterValidator(content_type)]
    content: Annotated[
        bytes,
        BeforeValidator(lambda given: file_content(given) if isinstance(given, str) else given),
        WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
    ] = Field(description="Base64.")


class SingleIn(In):
    """One message to one person."""

    channel: Literal["email", "sms", "whatsapp", "push", "webhook", "best"] = Field(
        description='"best" takes, of those that `body` has words for, the channel that suits the person.'
    )
    template_id: UUID | None = Field(None, description="Its newest version is sent.")
    body: dict[str, Any] | None = Field(
        None,
        description="Words of its own, in Liquid: for email {subject, html, text, preheader}; for others as "
        'in their templates. For "best" {"email": {…}, "sms": {…}}, each words or a template_id.',
    )
    to: Annotated[ToIn, BeforeValidator(_exactly_one)]
    message_class: MessageClass = Field(
        MessageClass.TRANSACTIONAL,
        alias="class",
        description="Whether consent and caps count: they do for marketing.",
    )
    data: dict[str, Any] = Field(
        default_factory=dict, description="Variables beside the profile's attributes, and before them."
    )
    attachments: list[AttachmentIn] = Field(
        default_factory=list, max_length=MOST_FILES, description="For email; 7 MB all together."
    )
    expires_in: int | None = Field(
        None, ge=1, le=int(LONGEST_WAIT.total_seconds()), description="Seconds after which it is too late."
    )
    send_at: AwareDatetime | None = Field(None, description="At most 30 days ahead; now when left out.")

    model_config = example(
        {
            "channel": "email",
            "template_id": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f",
            "to": {"profile": "ada@example.com"},
            "data": {"link": "https://records.example/reset/x7d2"},
            "expires_in": 3600,
        }
    )

    @model_validator(mode="after")
    def says_one_thing(self) -> "SingleIn":
        if (self.template_id is None) == (self.body is None):
            raise ValueError("Send a template_id or a body: one of them.")
        return self


@dataclass(frozen=True)
class Checked:
    single: Single
    why: str | None  # Why this channel, where it was ours to choose.


@dataclass(frozen=True)
class Desk:
    """What single messages of one request are checked with."""

    db: AsyncSession
    workspace: Workspace
    asker: Caller
    public_url: str
    now: datetime

    async def check(self, body: SingleIn) -> Checked:
        """The line that a message becomes. Its words are filled once, so that none is queued that can't be.

        Raises `Invalid` or `Refused` with a pointer to the field at fault.
        """
        if body.message_class is MessageClass.TEST:
            raise Invalid("Send transactional or marketing; campaigns have tests.", "/class")
        check_storable(body.data, "/data")
        check_storable(body.body, "/body")
        check_storable(body.to.model_dump(), "/to")
        if len(orjson.dumps(body.data)) > LARGEST_DATA:
            raise Invalid(f"Keep this under {LARGEST_DATA:,} bytes.", "/data")
        files = _files(body.attachments)
        due_at, expires_at = self._when(body)
        person = await self._person(body)
        if person is None and body.message_class is MessageClass.MARKETING:
            raise Invalid("Marketing needs a profile: only of those do we know consent.", "/class")
        channel, why = await self._channel(body, person)
        if files:
            await self._carried(channel, body.message_class)
        address, bare = await self._address(body, person, channel)
        if channel is Channel.EMAIL and (reasons := lacking(self.workspace)):
            raise Refused(" ".join(reasons))
        version_id, holes = await self._words(body, channel, person, address)
        return Checked(
            Single(
                channel=channel,
                message_class=body.message_class,
                template_version_id=version_id,
                profile_id=person.profile.id if person else None,
                bare=bare,
                holes=holes if person is None or body.data else None,
                due_at=due_at,
                expires_at=expires_at,
                note=asked(self.asker.kind, self.asker.name, why),
                files=files,
            ),
            why,
        )

    def _when(self, body: SingleIn) -> tuple[datetime, datetime | None]:
        due_at = max(body.send_at or self.now, self.now)
        if due_at - self.now > LONGEST_WAIT:
            raise Invalid(f"Send it at most {LONGEST_WAIT.days} days ahead.", "/send_at")
        return due_at, due_at + timedelta(seconds=body.expires_in) if body.expires_in else None

    async def _person(self, body: SingleIn) -> Person | None:
        if body.to.profile is None:
            return None
        try:
            person = await reach.find(self.db, body.to.profile)
        except NotFound as error:
            raise Invalid(error.message, "/to/profile") from error
        if person.profile.erased_at is not None:
            raise Invalid("This person was erased.", "/to/profile")
        return person

    async def _channel(self, body: SingleIn, person: Person | None) -> tuple[Channel, str | None]:
        """The channel, and why it is this one where it was ours to choose."""
        if body.channel != BEST:
            channel = Channel(body.channel)
            if channel not in await reach.routed(self.db, body.message_class):
                raise Refused(
                    f"Nothing sends {body.message_class} messages by {channel}: add an account by POST "
                    "/api/v1/providers and a route to it.",
                    "/channel",
                )
            return channel, None
        if person is None:
            raise Invalid("Name the channel of a bare address.", "/channel")
        if body.body is None:
            raise Invalid('A template is of one channel: for "best", name each in `body`.', "/template_id")
        ways = await reach.ways(self.db, self.workspace.id, person, _offered(body), body.message_class)
        way, why = best(ways, body.message_class)
        if way is None:
            raise Refused(why, "/to")
        return way.channel, why

    async def _carried(self, channel: Channel, message_class: MessageClass) -> None:
        """Files need a provider that takes them; mail without a route goes by the installation's, which does.

        Raises `Invalid` and `Refused`.
        """
        if channel is not Channel.EMAIL:
            raise Invalid("Files go by email alone.", "/attachments")
        routed = await reach.kinds(self.db, channel, message_class)
        able = {name for name, kind in registry.kinds().items() if kind.capabilities.attachments}
        if routed and not routed & able:
            raise Refused(
                f"No route for {message_class} mail leads to a provider that takes files: add one by POST "
                "/api/v1/routes (smtp, ses and sendgrid do), or send a link.",
                "/attachments",
            )

    async def _address(
        self, body: SingleIn, person: Person | None, channel: Channel
    ) -> tuple[str, str | None]:
        """Where it would go now, and the address for the ledger where there is no profile."""
        field = _FIELDS[channel]
        if person is not None:
            address = reach.address(person, channel)
            if address is None and address_kind(channel) is None:
                raise Invalid(f"{channel} has addresses of its own: name one as {field}.", "/to")
            if address is None:
                raise Refused(f"This person has no {field}.", "/to/profile")
            return address, None
        given = getattr(body.to, field)
        if given is None:
            raise Invalid(f"For {channel}, send to a profile or a {field}.", "/to")
        bare = orjson.dumps(given).decode() if isinstance(given, dict) else str(given)
        try:
            bare = normal(channel, bare)
        except ValueError as error:
            raise Invalid(f"{error}.", f"/to/{field}") from error
        return bare, bare

    async def _words(
        self, body: SingleIn, channel: Channel, person: Person | None, address: str
    ) -> tuple[UUID, tuple[str, ...]]:
        """The version of the template that is sent, and what fills it for this person."""
        variables = {**(person.profile.attributes if person else {}), **body.data}
        own, template_id, pointer = body.body, body.template_id, "/body"
        if body.channel == BEST:
            own, pointer = (body.body or {})[channel], f"/body/{channel}"
            template_id = _template_of(own, pointer)
        if template_id is not None:
            at = f"{pointer}/template_id" if body.channel == BEST else "/template_id"
            version = await self._version(template_id, channel, at)
            made = words.compiled(templates.said_in(version, channel), self.workspace, self.public_url)
            return version.id, _filled(made, channel, variables, address)
        with under(pointer):
            said = words.read(channel, own or {})
            made = words.compiled(said, self.workspace, self.public_url)
        holes = _filled(made, channel, variables, address)
        return await bodies.version(self.db, self.workspace.id, said), holes

    async def _version(self, template_id: UUID, channel: Channel, pointer: str) -> TemplateVersion:
        try:
            template, version = await templates.get(self.db, template_id)
        except NotFound as error:
            raise Invalid(error.message, pointer) from error
        if template.channel != channel:
            raise Invalid(f"This template is for {template.channel}.", pointer)
        return version


def _filled(
    made: words.Compiled, channel: Channel, variables: dict[str, Any], address: str
) -> tuple[str, ...]:
    holes = words.filled(made, channel, variables, address)
    check_storable(list(holes), "/data")
    return holes


def _offered(body: SingleIn) -> list[Channel]:
    """The channels that the body has words for. Raises `Invalid`."""
    offered = []
    for name, own in (body.body or {}).items():
        if name not in set(Channel):
            raise Invalid('For "best", say what goes by which channel: {"email": {…}, "sms": {…}}.', "/body")
        if not isinstance(own, dict):
            raise Invalid("Send an object: words, or a template_id.", f"/body/{name}")
        if address_kind(Channel(name)) is not None:
            offered.append(Channel(name))
    if body.attachments:  # Nothing else takes files.
        offered = [channel for channel in offered if channel is Channel.EMAIL]
    if not offered:
        raise Invalid("Send words for email, sms or whatsapp; files go by email alone.", "/body")
    return offered


def _template_of(own: dict[str, Any], pointer: str) -> UUID | None:
    if "template_id" not in own:
        return None
    try:
        [(_, given)] = own.items()
        return UUID(given)
    except (ValueError, TypeError, AttributeError) as error:
        raise Invalid(
            "Send the id of a template, and nothing beside it.", f"{pointer}/template_id"
        ) from error


def _files(given: Sequence[AttachmentIn]) -> list[File]:
    if sum(len(each.content) for each in given) > LARGEST_FILES:
        raise Invalid(f"Send at most {LARGEST_FILES:,} bytes of files with a message.", "/attachments")
    return [File(each.name, each.content_type, each.content) for each in given]
