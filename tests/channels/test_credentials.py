"""What is a credential, and how it is kept apart."""

import json
from typing import Annotated
from uuid import uuid4

import pytest
from pydantic import BaseModel, Field, SecretStr

from channels.credentials import parted, seal, secrets_of, together, unseal
from domain.secrets import CannotOpen, Sealer
from settings import DEVELOPMENT_ENCRYPTION_KEY

Token = Annotated[SecretStr, Field(min_length=1)]
SEALER = Sealer.of(DEVELOPMENT_ENCRYPTION_KEY)


class Settings(BaseModel):
    region: str = "eu"
    key: SecretStr
    other: Token | None = None
    names: list[str] = []


def test_a_credential_is_a_field_that_is_a_secret_however_it_is_written() -> None:
    assert secrets_of(Settings) == {"key", "other"}


def test_what_may_be_read_says_of_a_credential_only_that_it_is_there() -> None:
    clear, secrets = parted(Settings(key=SecretStr("k"), names=["a"]))

    assert clear == {"region": "eu", "names": ["a"], "key": "set"}
    assert secrets == {"key": "k"}
    assert "k" not in json.dumps(clear).replace("key", "")


def test_both_parts_make_the_settings_again() -> None:
    before = Settings(key=SecretStr("k"), other=SecretStr("o"))
    clear, secrets = parted(before)

    assert Settings.model_validate(together(Settings, clear, secrets)) == before


def test_sealed_it_opens_for_its_account_alone() -> None:
    account = uuid4()
    sealed = seal(SEALER, {"key": "k"}, account)

    assert unseal(SEALER, sealed, account) == {"key": "k"}
    with pytest.raises(CannotOpen):
        unseal(SEALER, sealed, uuid4())
    assert seal(SEALER, {}, account) is None
    assert unseal(SEALER, None, account) == {}
