"""Email addresses: the quick way and the whole rule say the same."""

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from domain.addresses import normal_address

PART = st.text(st.sampled_from("aZ09-.+_'xn"), max_size=9)


def by_the_rule(text: str) -> str | None:
    try:
        found = validate_email(text, check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError:
        return None
    return found.normalized.lower() if "." in found.domain else None


def kept(text: str) -> str | None:
    try:
        return normal_address(text)
    except ValueError:
        return None


@given(st.builds("{}@{}.{}".format, PART, PART, PART))
@example("a" * 64 + "@example.com")
@example("a" * 65 + "@example.com")
@example("a@" + "b" * 63 + ".com")
@example("a@" + "b" * 64 + ".com")
@example("a@" + "b.c" * 90 + ".com")
@example("a@example.c0m")
@example("a@example.123")
@example("a@xn--mnchen-3ya.de")
def test_an_ordinary_address_is_judged_as_the_whole_rule_does(text: str) -> None:
    assert kept(text) == by_the_rule(text)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Ada.Lovelace+News@Example.COM", "ada.lovelace+news@example.com"),
        ("jürgen@MÜNCHEN.de", "jürgen@münchen.de"),
        ("a@xn--mnchen-3ya.de", "a@münchen.de"),
        ("o'hara@records.test", "o'hara@records.test"),
    ],
)
def test_an_address_is_kept_in_one_form(text: str, normal: str) -> None:
    assert normal_address(text) == normal


@pytest.mark.parametrize(
    "text", ["", "ada", "ada@", "@example.com", "a b@example.com", "ada@localhost", "a@b..c"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        normal_address(text)
