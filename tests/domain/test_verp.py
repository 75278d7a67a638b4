"""The return path of a mail names its message, and nobody else can make one."""

from uuid import uuid4

import pytest

from domain import verp
from domain.tokens import Tokens

TOKENS = Tokens(b"the key that the tests sign with")


def test_a_return_path_names_its_message() -> None:
    message = uuid4()
    path = verp.address("mail.shop.example", message, TOKENS)

    assert verp.read(path, TOKENS) == message


def test_a_server_may_change_its_case() -> None:
    message = uuid4()
    path = verp.address("mail.shop.example", message, TOKENS)

    assert verp.read(path.upper(), TOKENS) == verp.read(f"<{path.title()}>", TOKENS) == message


def test_what_stands_before_the_at_is_no_longer_than_smtp_allows() -> None:
    local, _, domain = verp.address("mail.shop.example", uuid4(), TOKENS).partition("@")

    assert (len(local), domain) == (53, "mail.shop.example")
    assert local.isascii()


def test_one_that_others_signed_names_nothing() -> None:
    path = verp.address("mail.shop.example", uuid4(), Tokens(b"a key of somebody else's"))

    assert verp.read(path, TOKENS) is None


def test_one_that_was_changed_names_nothing() -> None:
    path = verp.address("mail.shop.example", uuid4(), TOKENS)
    for place in range(len(verp.BEFORE), len(verp.BEFORE) + 44):
        other = "a" if path[place] != "a" else "b"
        assert verp.read(path[:place] + other + path[place + 1 :], TOKENS) is None


@pytest.mark.parametrize(
    "text",
    ["", "ada@shop.example", "bounces+@shop.example", f"bounces+{45 * 'a'}@x", f"bounces+{45 * '1'}@x"],
)
def test_other_addresses_name_nothing(text: str) -> None:
    assert verp.read(text, TOKENS) is None
