"""Secrets at rest."""

import base64

import pytest

from domain.secrets import CannotOpen, Sealer

KEY = base64.b64encode(b"k" * 32).decode()
OTHER = base64.b64encode(b"o" * 32).decode()


def test_what_was_sealed_opens_for_what_it_belongs_to_alone() -> None:
    sealer = Sealer.of(f"a:{KEY}")
    sealed = sealer.seal("the secret", "issuer:1")

    assert sealer.open(sealed, "issuer:1") == "the secret"
    assert "the secret" not in sealed
    assert sealer.seal("the secret", "issuer:1") != sealed
    for other in ("issuer:2", ""):
        with pytest.raises(CannotOpen):
            sealer.open(sealed, other)


@pytest.mark.parametrize("broken", ["", "v1.a", "v1.b.AAAA", "v2.a.AAAA", "v1.a.!!", "v1.a.AAAA"])
def test_what_is_broken_does_not_open(broken: str) -> None:
    with pytest.raises(CannotOpen):
        Sealer.of(f"a:{KEY}").open(broken, "x")


def test_an_older_key_opens_and_the_first_one_seals() -> None:
    old = Sealer.of(f"a:{KEY}")
    both = Sealer.of(f"b:{OTHER}, a:{KEY}")

    assert both.open(old.seal("s", "x"), "x") == "s"
    assert both.seal("s", "x").startswith("v1.b.")


@pytest.mark.parametrize("setting", ["", "a", f":{KEY}", "a:c2hvcnQ=", f"a:{KEY},a:{OTHER}", f"a b:{KEY}"])
def test_a_setting_that_cannot_be_used_is_refused_without_its_keys(setting: str) -> None:
    with pytest.raises(ValueError, match="key") as refusal:
        Sealer.of(setting)
    assert KEY not in str(refusal.value)
