"""What a password costs whoever would guess it. The tests themselves hash cheaply (`tests.support`)."""

import importlib.util
from types import ModuleType

from domain import passwords

PASSWORD = "correct horse battery staple"


def as_shipped() -> ModuleType:
    """`domain.passwords` as every process but the tests' has it."""
    spec = importlib.util.find_spec("domain.passwords")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_hash_costs_64_mb_three_times() -> None:
    shipped = as_shipped()
    kept = shipped.hash_of(PASSWORD)

    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert shipped.verify(PASSWORD, kept) == (True, None)
    assert shipped.verify("another password", kept) == (False, None)


def test_a_hash_that_costs_less_is_made_anew_when_its_owner_comes_back() -> None:
    good, new = as_shipped().verify(PASSWORD, passwords.hash_of(PASSWORD))

    assert good
    assert new
    assert new.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
