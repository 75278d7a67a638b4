"""Templates of texts, WhatsApp messages, pushes and webhooks: what a template says that is no mail.

Like a mail's (see `domain/templates.py`) they are Liquid: `compile` takes every string apart once, `render`
gives the values of the holes for one profile, which the ledger keeps, and `show` puts both together.
Variables are the profile's attributes and `phone` where the channel has phone numbers, and the same for all
`workspace.name` and `unsubscribe_url`. No link is rewritten.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from domain.channels import Channel, address_kind
from domain.errors import Invalid
from domain.holes import TOKEN, Taken, parse, required
from domain.nesting import DEEPEST, depth
from domain.skeletons import Skeleton, as_is, filled, skeleton

LARGEST_PAYLOAD = 65_536  # Bytes of a webhook's payload as it is written, in JSON.
MOST_STRINGS = 500  # In one payload.


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SmsContent(_Content):
    """A text message."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=5_000)]


class WhatsAppContent(_Content):
    """A template that Meta approved, or plain words for the 24 hours after somebody wrote."""

    template: Annotated[str, StringConstraints(pattern="^[a-z0-9_]{1,512}$")] | None = None
    language: Annotated[str, StringConstraints(pattern="^[a-z]{2,3}(_[A-Z]{2})?$")] = "en_US"
    parameters: list[Annotated[str, StringConstraints(min_length=1, max_length=2_000)]] = Field(
        default=[], max_length=50
    )
    text: Annotated[str, StringConstraints(min_length=1, max_length=8_000)] | None = None

    @model_validator(mode="after")
    def says_one_thing(self) -> Self:
        if (self.template is None) == (self.text is None):
            raise ValueError("Give either template, with its parameters, or text")
        if self.text is not None and self.parameters:
            raise ValueError("Only a template has parameters; write them into the text")
        return self


class PushContent(_Content):
    """What a browser shows."""

    title: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    body: Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
    url: Annotated[str, StringConstraints(min_length=1, max_length=2_000)] | None = None
    icon: Annotated[str, StringConstraints(min_length=1, max_length=2_000)] | None = None


class WebhookContent(_Content):
    """A JSON object whose strings are Liquid; its keys, numbers and the rest are sent as they are."""

    payload: dict[str, Any]


SHAPES: Mapping[Channel, type[_Content]] = {
    Channel.SMS: SmsContent,
    Channel.WHATSAPP: WhatsAppContent,
    Channel.PUSH: PushContent,
    Channel.WEBHOOK: WebhookContent,
}
# What of a content is no Liquid.
_PLAIN = {Channel.WHATSAPP: ("template", "language")}


@dataclass(frozen=True, slots=True)
class ShortTemplate:
    """What the marketer wrote, checked for its shape."""

    channel: Channel
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A template for one workspace and one public URL, ready for any number of messages."""

    template: ShortTemplate
    skeletons: Mapping[str, Skeleton]  # By the pointer of the string.
    telling: tuple[int, ...]  # Holes within whose values the token has to be put.
    taken: Taken = field(compare=False, repr=False)


def checked(channel: Channel, content: Mapping[str, Any]) -> ShortTemplate:
    """A template with this content. Raises `Invalid` with the pointers of what is at fault (/content/…)."""
    try:
        found = SHAPES[channel].model_validate(dict(content))
    except ValidationError as error:
        faults = [
            Invalid(_sentence(each["type"], each["msg"]), _pointer("/content", *each["loc"]))
            for each in error.errors()
        ]
        faults[0].also.extend(faults[1:])
        raise faults[0] from None
    said = found.model_dump(exclude_defaults=True)
    if isinstance(found, WhatsAppContent) and found.template is not None:
        said["language"] = found.language
    if isinstance(found, WebhookContent):
        _bounded(found.payload)
    return ShortTemplate(channel, said)


def _sentence(kind: str, message: str) -> str:
    match kind:
        case "missing":
            return "This field is required."
        case "extra_forbidden":
            return "There is no such field on this channel."
    return message.removeprefix("Value error, ").rstrip(".") + "."


def _bounded(payload: Mapping[str, Any]) -> None:
    try:
        written = len(orjson.dumps(payload))
    except (TypeError, ValueError) as error:
        raise Invalid(f"The payload can't be written as JSON: {error}.", "/content/payload") from None
    if written > LARGEST_PAYLOAD:
        raise Invalid(
            f"Keep the payload under {LARGEST_PAYLOAD:,} bytes; it has {written:,}.", "/content/payload"
        )
    if depth(payload) > DEEPEST:
        raise Invalid(f"Nest the payload at most {DEEPEST} levels deep.", "/content/payload")
    if sum(1 for _ in _strings(payload, "")) > MOST_STRINGS:
        raise Invalid(f"A payload holds at most {MOST_STRINGS} strings.", "/content/payload")


def _strings(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    """All strings within, but for keys, each with its pointer."""
    match value:
        case str():
            yield pointer, value
        case dict():
            for key, inner in value.items():
                yield from _strings(inner, _pointer(pointer, key))
        case list():
            for nth, inner in enumerate(value):
                yield from _strings(inner, _pointer(pointer, nth))


def _pointer(start: str, *keys: str | int) -> str:
    return start + "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in keys)


def _parts(template: ShortTemplate) -> dict[str, str]:
    """What is Liquid in it, by its pointer, in order."""
    plain = _PLAIN.get(template.channel, ())
    liquid = {name: value for name, value in template.content.items() if name not in plain}
    return dict(_strings(liquid, "/content"))


def compile(  # noqa: A001 - read as `short_templates.compile`, like `re.compile`
    template: ShortTemplate, *, workspace_name: str, public_url: str
) -> Compiled:
    """Compile a template. `public_url` is where tracking answers, such as https://mail.shop.example.

    Raises Invalid with the pointer of the string at fault and the line; what is wrong in others is in its
    `also`.
    """
    parts = _parts(template)
    faults: list[Invalid] = []
    for pointer, source in parts.items():
        try:
            parse(source, pointer, markup=False)
        except Invalid as fault:
            faults.append(fault)
    if faults:
        faults[0].also.extend(faults[1:])
        raise faults[0]
    unsubscribe = f"{public_url.rstrip('/')}/u/{TOKEN}"
    taken = Taken({"workspace": {"name": workspace_name}, "unsubscribe_url": unsubscribe})

    def written(_: int, __: bool) -> Callable[[str], str]:
        return as_is

    skeletons = {
        pointer: skeleton(taken.apart(source, pointer, markup=False), written)
        for pointer, source in parts.items()
    }
    telling = tuple(nth for nth, hole in enumerate(taken.holes) if hole.tells_token)
    return Compiled(template, skeletons, telling, taken)


def render(compiled: Compiled, variables: Mapping[str, Any]) -> tuple[str, ...]:
    """The values of the holes for one profile: what the ledger keeps of a message. Raises `TemplateError`."""
    return compiled.taken.render(variables)


def show(compiled: Compiled, holes: Sequence[str], token: str) -> dict[str, Any]:
    """The content as one person gets it, from the values that `render` gave and the message's token."""
    values = list(holes)
    for hole in compiled.telling:
        values[hole] = values[hole].replace(TOKEN, token)

    def said(value: Any, pointer: str) -> Any:
        match value:
            case str() if (pieces := compiled.skeletons.get(pointer)) is not None:
                return filled(pieces, values, token)
            case dict():
                return {key: said(inner, _pointer(pointer, key)) for key, inner in value.items()}
            case list():
                return [said(inner, _pointer(pointer, nth)) for nth, inner in enumerate(value)]
        return value

    shown: dict[str, Any] = said(dict(compiled.template.content), "/content")
    return shown


def address_variable(channel: Channel) -> str | None:
    """Under which name a template prints the address that it goes to, if it may."""
    kind = address_kind(channel)
    return kind.value if kind else None


def variables_required(template: ShortTemplate) -> set[str]:
    """The attributes that each message prints and gives no default: a profile without one is skipped."""
    known = {"workspace", "unsubscribe_url"}
    if name := address_variable(template.channel):
        known.add(name)
    return {name for pointer, source in _parts(template).items() for name in required(source, pointer, known)}
