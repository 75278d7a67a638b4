"""How people are sent to us and shown, whichever route is asked."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from api.shapes import In, Out, absent, example
from domain.clock import time_zones
from domain.profiles import ConsentSource, ConsentState, IdentityKind, Purpose, checked
from domain.traits import with_places
from models.queries.profiles_found import Person
from models.queries.profiles_written import KNOWN, Item

_ID = "0199f1c2-a4b2-7e11-8c4d-5e6f7a8b9c0d"


class IdentityOut(Out):
    kind: IdentityKind
    value: str
    is_primary: bool


class ProfileOut(Out):
    id: UUID
    email: str | None
    identities: list[IdentityOut]
    attributes: dict[str, Any]
    consents: dict[Purpose, ConsentState]
    tags: list[str]
    owner_id: UUID | None = Field(description="The member who looks after them.")
    time_zone: str | None
    locale: str | None
    country: str | None
    created_at: datetime
    updated_at: datetime
    erased_at: datetime | None

    model_config = example(
        {
            "id": _ID,
            "email": "ada@example.com",
            "identities": [{"kind": "email", "value": "ada@example.com", "is_primary": True}],
            "attributes": {"first_name": "Ada"},
            "consents": {"email": "granted", "tracking": "granted"},
            "tags": ["early bird"],
            "owner_id": None,
            "time_zone": "Europe/London",
            "locale": "en-GB",
            "country": "GB",
            "created_at": "2026-11-21T09:00:00Z",
            "updated_at": "2026-11-21T09:00:00Z",
            "erased_at": None,
        }
    )


def shown(person: Person) -> ProfileOut:
    return ProfileOut.model_validate(
        {
            **vars(person.profile),
            "email": person.email,
            "identities": [IdentityOut.model_validate(each) for each in person.identities],
            "consents": person.consents,
            "tags": person.tags,
        }
    )


def _name(kind: IdentityKind) -> Callable[[str], str]:
    def check(value: str) -> str:
        try:
            return checked(kind, value)
        except ValueError as error:
            raise ValueError(f"{error}.") from error

    return check


def _time_zone(name: str) -> str:
    if name not in time_zones():
        raise ValueError("This is no time zone of IANA's, such as Europe/Berlin.")
    return name


def _locale(tag: str) -> str:
    """BCP 47 as far as it matters to us: subtags of one to eight letters and digits, a language first."""
    language, *more = tag.replace("_", "-").split("-")
    if not (2 <= len(language) <= 8 and language.isascii() and language.isalpha()) or not all(
        1 <= len(each) <= 8 and each.isascii() and each.isalnum() for each in more
    ):
        raise ValueError("This is no language tag, such as de-AT.")
    return "-".join((language.lower(), *more))


def _country(code: str) -> str:
    if len(code) != 2 or not code.isascii() or not code.isalpha():
        raise ValueError("Send the two letters of ISO 3166-1, such as AT.")
    return code.upper()


def _source(said: str) -> str:
    """Whose word it is may be said by nobody but us where we were there ourselves."""
    if said in (ConsentSource.ONE_CLICK, ConsentSource.UNSUBSCRIBE_PAGE, ConsentSource.IMPORT):
        raise ValueError('Say in your own words where it is from, or "person" for their own word to you.')
    return said


_Text = Annotated[str, StringConstraints(max_length=320)]
EmailName = Annotated[_Text, AfterValidator(_name(IdentityKind.EMAIL))]
PhoneName = Annotated[_Text, AfterValidator(_name(IdentityKind.PHONE))]
UserId = Annotated[_Text, AfterValidator(_name(IdentityKind.USER_ID))]
AnonymousId = Annotated[_Text, AfterValidator(_name(IdentityKind.ANONYMOUS_ID))]
TimeZone = Annotated[_Text, AfterValidator(_time_zone)]
Locale = Annotated[_Text, AfterValidator(_locale)]
Country = Annotated[_Text, AfterValidator(_country)]
Source = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(_source),
    Field(
        description='Where it is from, such as "checkout". "person" is their own word, which alone undoes an '
        "unsubscribe."
    ),
]


class ProfileChange(In):
    """What to change; the rest stays. A name that is given becomes the primary one of its kind."""

    email: EmailName | None = Field(default_factory=absent)
    phone: PhoneName | None = Field(
        default_factory=absent, description="With its country's code; kept as E.164."
    )
    user_id: UserId | None = Field(default_factory=absent)
    anonymous_id: AnonymousId | None = Field(default_factory=absent)
    attributes: dict[str, Any] = Field(
        default_factory=dict,
        description='Each is set to its value; null removes it, {"$inc": 3} adds to a number, '
        '{"$append": "x"} to a list.',
    )
    time_zone: TimeZone | None = Field(
        default_factory=absent, description="Of IANA's. It is an attribute of this name too."
    )
    locale: Locale | None = Field(
        default_factory=absent, description="A language tag, BCP 47. It is an attribute of this name too."
    )
    country: Country | None = Field(
        default_factory=absent, description="ISO 3166-1, two letters. It is an attribute of this name too."
    )
    owner_id: UUID | None = Field(default_factory=absent, description="A member's `user_id`.")

    model_config = example(
        {
            "attributes": {"plan": "pro", "visits": {"$inc": 1}, "nickname": None},
            "time_zone": "Europe/Vienna",
        }
    )


class ProfileIn(ProfileChange):
    """A person, by at least one name. Whoever has it is changed; if nobody has, they are new."""

    consents: dict[Purpose, ConsentState] = Field(
        default_factory=dict, description="What they allow: a denial always holds, a grant only over none."
    )
    consent_source: Source = "api"

    model_config = example(
        {
            "email": "grace@example.com",
            "phone": "+1 202 555 0147",
            "attributes": {"first_name": "Grace", "plan": "pro"},
            "country": "US",
            "consents": {"email": "granted"},
            "consent_source": "checkout",
        }
    )


def item_of(body: ProfileChange, profile_id: UUID | None = None) -> Item:
    """What the database is told. Only what was sent counts: a null takes away, what is missing stays.

    Of who is found by their names, none is taken away. Time zone, locale and country are attributes as well.
    """
    sent = body.model_fields_set
    names = {kind: getattr(body, kind.value) for kind in IdentityKind if kind.value in sent}
    consents: dict[Purpose, ConsentState] = {}
    source = "api"
    if isinstance(body, ProfileIn):
        consents, source = body.consents, body.consent_source
        names = {kind: value for kind, value in names.items() if value is not None}
    sent_known = {column: getattr(body, column) for column in KNOWN if column in sent}
    attributes, known = with_places(body.attributes, sent_known)
    return Item(
        names=names,
        attributes=attributes,
        known=known,
        consents=consents,
        source=source,
        profile_id=profile_id,
    )
