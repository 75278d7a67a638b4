"""Accounts with providers, as the API has them: settings are read, and tried out before they count."""

import asyncio
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from typing import Any
from uuid import UUID

import httpx2
import orjson
import structlog
from pydantic import BaseModel, ValidationError

from api.errors import Unavailable, at_fault, no_such_field
from api.stack import Stack
from channels import credentials, discretion, registry
from channels.contract import SENDERS_FAULT, Account, Kind, Provider
from channels.credentials import SET
from channels.egress import EgressRefused
from channels.smtp import SmtpProvider
from domain.errors import Conflict, Invalid
from domain.routing import BUILT_IN
from domain.secrets import CannotOpen
from models.providers import Provider as Row

PATIENCE = 10.0  # Seconds that a provider has to answer.
LARGEST = 50_000  # Characters of an account's settings.
_LEAVING = 2.0  # Seconds to close what was opened.

log = structlog.get_logger(__name__)


def kind_named(name: str) -> Kind:
    """Raises `Invalid`."""
    known = registry.kinds()
    if name not in known:
        there = ", ".join(sorted(known))
        if near := get_close_matches(name.lower(), known, 1):
            raise Invalid(f'There is no kind of provider "{name[:50]}"; did you mean "{near[0]}"?', "/kind")
        raise Invalid(f'There is no kind of provider "{name[:50]}": take one of {there}.', "/kind")
    return known[name]


def kind_of(row: Row) -> Kind:
    """Raises `Conflict` for an account whose kind this installation has no more."""
    kind = registry.kinds().get(row.kind)
    if kind is None:
        raise Conflict(f"This installation has no providers of the kind {row.kind} any more.")
    return kind


def settings_of(kind: Kind, given: Mapping[str, Any]) -> BaseModel:
    """Settings as they were sent, checked. Raises `Invalid` with a pointer below /settings for each fault."""
    known = kind.settings.model_fields
    wrong = [
        Invalid(no_such_field(name, known), f"/settings/{_escaped(name)}")
        for name in given
        if name not in known
    ]
    wrong += [
        Invalid("This field is required.", f"/settings/{name}")
        for name, field in (known.items() if wrong else ())
        if field.is_required() and name not in given
    ]
    wrong += [
        Invalid(f'Send the secret itself: "{SET}" is how it is shown.', f"/settings/{name}")
        for name in credentials.secrets_of(kind.settings)
        if given.get(name) == SET
    ]
    if len(json.dumps(given)) > LARGEST:
        wrong.append(Invalid(f"Settings have at most {LARGEST:,} characters.", "/settings"))
    if not wrong:
        try:
            settings = kind.settings.model_validate(dict(given))
            orjson.dumps(settings.model_dump(mode="json"))
            return settings
        except TypeError:
            wrong = [Invalid("A number in it is too large, or it holds half a character.", "/settings")]
        except ValidationError as error:
            wrong = _faults(kind, error, given)
    first, *others = wrong
    first.also = [*others]
    raise first


def _faults(kind: Kind, error: ValidationError, given: Mapping[str, Any]) -> list[Invalid]:
    """What is not written as it must be is told by the field's description: a pattern helps nobody."""
    faults = []
    for each, said in zip(error.errors(), at_fault(error, dict(given)), strict=False):
        detail = said.detail
        if each["type"] == "string_pattern_mismatch":
            like = kind.settings.model_fields[str(each["loc"][0])].description
            detail = f"This is not written as it must be{f': {like}' if like else ''}."
        faults.append(Invalid(detail, f"/settings{said.pointer}"))
    return faults


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def changed_settings(opened: Stack, row: Row, given: Mapping[str, Any]) -> BaseModel:
    """A row's settings with these in their place: what is left out stays. Raises `Invalid`."""
    kind = kind_of(row)
    kept = credentials.together(kind.settings, row.settings, secrets_in(opened, row))
    secret = credentials.secrets_of(kind.settings)
    news = {name: value for name, value in given.items() if name not in secret or value != SET}
    return settings_of(
        kind, {**{name: kept[name] for name in kept if name in kind.settings.model_fields}, **news}
    )


def secrets_in(opened: Stack, row: Row) -> dict[str, str]:
    """Raises `Unavailable` where the key that sealed them is missing."""
    try:
        return credentials.unseal(opened.sealer, row.credentials, row.id)
    except CannotOpen as error:
        raise Unavailable(str(error)) from None


def account_of(opened: Stack, row: Row) -> Account:
    """Raises `Invalid` when its settings fit the kind no more, which a new version may bring about."""
    return Account(row.workspace_id, row.id, changed_settings(opened, row, {}))


async def what_is_wrong(opened: Stack, kind: Kind, account: Account) -> str | None:
    """Open an account and ask its provider whether a message could be sent now. None when it could.

    Whatever it is, it is said in a sentence, and nothing is sent.
    """
    try:
        provider = discretion.open_account(kind, account, opened.world)
    except (Invalid, EgressRefused) as error:
        return error.message
    except Exception as error:  # noqa: BLE001 - a provider's module may raise anything, and quote anything
        return _broke(kind, error, "An account can't be opened with these settings")
    return await _asked(kind.title, provider, kind)


async def what_is_wrong_with_ours(opened: Stack) -> str | None:
    """The same of the installation's own mail server."""
    return await _asked("The mail server", SmtpProvider(opened.settings.smtp_url, connections=1), None)


async def _asked(title: str, provider: Provider[Any], kind: Kind | None) -> str | None:
    try:
        async with asyncio.timeout(PATIENCE):
            said = await provider.check()
            return plainly(said) if said else None
    except TimeoutError:
        return f"{title} did not answer within {PATIENCE:g} s, so nothing is known of the account. {_LATER}"
    except EgressRefused as error:
        return error.message
    except (OSError, httpx2.TransportError):
        return f"{title} can't be reached, so nothing is known of the account. {_LATER}"
    except Exception as error:  # noqa: BLE001 - as above
        return _broke(kind, error, f"{title} could not be asked")
    finally:
        with suppress(Exception):
            async with asyncio.timeout(_LEAVING):
                await provider.close()


_SYSTEMS_WORDS = re.compile(
    r"can't be reached: (\[Errno|Multiple exceptions|All connection|Could not connect|Connect)"
)
_PLACE = re.compile(r"Connect call failed \('([^']{1,255})', (\d{1,5})")


def plainly(said: str) -> str:
    """What a check found, as people say it: no number of the system's errors, no class, one full stop."""
    said = said.removeprefix(SENDERS_FAULT)
    if found := _SYSTEMS_WORDS.search(said):
        place = _PLACE.search(said)
        where = f"at {place[1]}:{place[2]}" if place else "there"
        said = f"{said[: found.start()]}can't be reached: nobody answers {where}"
    return said if said.endswith(("?", "!")) else f"{said.rstrip('. ')}."


_LATER = "Try again, or save it unchecked with ?check=false."


def _broke(kind: Kind | None, error: Exception, what: str) -> str:
    """An error's own words may hold a credential: they are neither answered nor logged."""
    log.warning(
        "A provider could not be asked", kind=kind.name if kind else "smtp", error=type(error).__name__
    )
    return f"{what} ({type(error).__name__})."


def webhook_url(opened: Stack, kind: Kind, provider_id: UUID) -> str | None:
    """Where the provider is to send its reports; None where it has none."""
    return f"{opened.world.public_url}/hooks/{provider_id}" if kind.capabilities.webhooks else None


def is_ours(provider_id: UUID) -> bool:
    """Whether it is the one that comes with the installation, and has no row."""
    return provider_id == BUILT_IN
