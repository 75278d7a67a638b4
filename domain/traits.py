"""Attributes that also say where somebody is, and traits that are not taken as they were meant. Pure."""

from collections.abc import Mapping
from typing import Any

from domain.calls import Fault, escaped
from domain.clock import time_zones

CHANGES = ("$inc", "$append")  # By which `PATCH /profiles/{id}` changes what is there.


def misread(traits: Mapping[str, Any]) -> list[Fault]:
    """Time zones, locales and countries that can't be read as such. They are attributes all the same."""
    faults = []
    for name, reads, what in _FIELDS:
        said = traits.get(name)
        if said is not None and not (isinstance(said, str) and reads(said)):
            detail = f"This is {what}: it was kept as an attribute alone."
            faults.append(Fault(f"/traits/{name}", detail))
    return faults


def with_places(
    attributes: Mapping[str, Any], known: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The changes of attributes and of places, where what is said of the one is said of the other too.

    A place that is given wins over the attribute of its name. An attribute says where somebody is if it can
    be read so; its null takes away the attribute alone, as it does in an identify.
    """
    read: dict[str, Any] = {}
    for name, reads, _ in _FIELDS:
        said = attributes.get(name)
        if isinstance(said, str) and reads(said):
            read.setdefault(_ZONES.get(name, name), _written(name, said))
    given = {name: said for name, said in known.items() if name in PLACES}
    return {**attributes, **given}, {**read, **known}


def _written(name: str, said: str) -> str:
    match name:
        case "locale":
            return said.replace("_", "-")
        case "country":
            return said.upper()
    return said


def take_changes(traits: dict[str, Any]) -> list[Fault]:
    """Take out what would change a value, and not set it: many send traits again, and each would count."""
    faults = []
    for name, value in [*traits.items()]:
        if isinstance(value, dict) and any(change in value for change in CHANGES):
            del traits[name]
            faults.append(
                Fault(
                    f"/traits/{escaped(name)}",
                    "Traits are set to their values: to add to one, send PATCH /api/v1/profiles/{id}.",
                )
            )
    return faults


def _is_time_zone(said: str) -> bool:
    return said in time_zones()


def _is_locale(said: str) -> bool:
    language, *more = said.replace("_", "-").split("-")
    return (
        said.isascii()
        and 2 <= len(language) <= 3
        and language.isalpha()
        and all(2 <= len(each) <= 8 and each.isalnum() for each in more)
    )


def _is_country(said: str) -> bool:
    return len(said) == 2 and said.isascii() and said.isalpha()


_ZONE = "no time zone of IANA's, such as Europe/Berlin"
# As `models.queries.traits` reads them.
_FIELDS = (
    ("time_zone", _is_time_zone, _ZONE),
    ("timezone", _is_time_zone, _ZONE),
    ("timeZone", _is_time_zone, _ZONE),
    ("locale", _is_locale, "no language tag, such as de-AT"),
    ("country", _is_country, "not the two letters of a country in ISO 3166-1, such as AT"),
)
_ZONES = dict.fromkeys(("timezone", "timeZone"), "time_zone")
PLACES = frozenset(name for name, *_ in _FIELDS)
