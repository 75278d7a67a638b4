"""An account's settings in two parts: what anybody may read, and the credentials, which are kept sealed.

Credentials are the fields of a kind's settings whose type is SecretStr. A row's `settings` say of each that
is there that it is "set", and hold all the rest; sealed is a JSON object of the credentials by their names.
"""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, get_args
from uuid import UUID

from pydantic import BaseModel, SecretStr

from domain.secrets import Sealer

SET = "set"  # What stands in the place of a credential.


@cache
def secrets_of(settings: type[BaseModel]) -> frozenset[str]:
    """The names of the fields that are credentials."""
    fields = settings.model_fields.items()
    return frozenset(name for name, field in fields if _is_secret(field.annotation))


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(map(_is_secret, get_args(annotation)))


def parted(settings: BaseModel) -> tuple[dict[str, Any], dict[str, str]]:
    """What may be read, with "set" for each credential that is there; and the credentials in clear."""
    secrets = {
        name: value.get_secret_value()
        for name in sorted(secrets_of(type(settings)))
        if isinstance(value := getattr(settings, name), SecretStr)
    }
    clear = settings.model_dump(mode="json", exclude=set(secrets_of(type(settings))))
    return clear | dict.fromkeys(secrets, SET), secrets


def together(kept: type[BaseModel], clear: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
    """Both parts as one, to be validated by `kept`, the kind's settings."""
    return {name: value for name, value in clear.items() if name not in secrets_of(kept)} | dict(secrets)


def seal(sealer: Sealer, secrets: Mapping[str, str], provider_id: UUID) -> str | None:
    """What the row keeps; None where there is no credential."""
    return sealer.seal(json.dumps(dict(secrets)), _belongs_to(provider_id)) if secrets else None


def unseal(sealer: Sealer, sealed: str | None, provider_id: UUID) -> dict[str, str]:
    """The credentials in clear. Raises `domain.secrets.CannotOpen`."""
    if sealed is None:
        return {}
    found: dict[str, str] = json.loads(sealer.open(sealed, _belongs_to(provider_id)))
    return found


def _belongs_to(provider_id: UUID) -> str:
    return f"provider:{provider_id}"
