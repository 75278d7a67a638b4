"""Addresses that a provider is tried out with, channel by channel."""

import pytest

from domain.channels import Channel
from domain.trials import CONTENT, address_on

PUSH = '{"endpoint": "https://push.example/1", "keys": {"p256dh": "x", "auth": "y"}}'

NO_SUBSCRIPTIONS = ("x", "[]", "{}", '{"keys": {}}', '{"endpoint": 7, "keys": {}}', "[" * 4000)
NO_URLS = ("ftp://x.example", "https://", "x", "https://a:b@x.example", "http://[")


@pytest.mark.parametrize(
    ("channel", "given", "address"),
    [
        (Channel.EMAIL, " Me@Records.example ", "me@records.example"),
        (Channel.SMS, "+49 170 1234567", "+491701234567"),
        (Channel.WHATSAPP, "+49 170 1234567", "+491701234567"),
        (Channel.PUSH, PUSH, PUSH),
        (Channel.WEBHOOK, "https://hooks.records.example/in", "https://hooks.records.example/in"),
    ],
)
def test_an_address_is_kept_in_its_one_form(channel: Channel, given: str, address: str) -> None:
    assert address_on(channel, given) == address


@pytest.mark.parametrize(
    ("channel", "given"),
    [
        (Channel.EMAIL, "me"),
        (Channel.SMS, "0170 1234567"),
        (Channel.WHATSAPP, "me@records.example"),
        *((Channel.PUSH, given) for given in NO_SUBSCRIPTIONS),
        *((Channel.WEBHOOK, given) for given in NO_URLS),
    ],
)
def test_what_is_no_address_of_the_channel_is_refused(channel: Channel, given: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        address_on(channel, given)


def test_every_channel_but_email_has_words_of_its_own() -> None:
    assert {*Channel} - {*CONTENT} == {Channel.EMAIL}
