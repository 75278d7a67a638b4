import json

import pytest

from domain.channels import Channel
from domain.staging import Staging

SETTING = "Ada@Example.com, @shop.example, +49 170 1234567, hooks.example, 127.0.0.1:9100"


@pytest.mark.parametrize(
    ("channel", "address"),
    [
        (Channel.EMAIL, "ada@example.com"),
        (Channel.EMAIL, "ADA@example.com"),
        (Channel.EMAIL, "anybody@shop.example"),
        (Channel.SMS, "+491701234567"),
        (Channel.WHATSAPP, "+49 (170) 1234567"),
        (Channel.WEBHOOK, "https://hooks.example/in?x=1"),
        (Channel.WEBHOOK, "https://HOOKS.example:8443/in"),
        (Channel.WEBHOOK, "http://127.0.0.1:9100/in"),
        (Channel.PUSH, json.dumps({"endpoint": "https://hooks.example/push/1", "keys": {}})),
    ],
)
def test_who_is_named_is_written_to(channel: Channel, address: str) -> None:
    assert Staging.of(SETTING).may(channel, address)


@pytest.mark.parametrize(
    ("channel", "address"),
    [
        (Channel.EMAIL, "bob@example.com"),
        (Channel.EMAIL, "ada@example.com.evil.example"),
        (Channel.EMAIL, "anybody@sub.shop.example"),
        (Channel.EMAIL, "anybody@notshop.example"),
        (Channel.EMAIL, "no address"),
        (Channel.SMS, "+491701234568"),
        (Channel.SMS, "nonsense"),
        (Channel.WEBHOOK, "https://hooks.example.evil.example/"),
        (Channel.WEBHOOK, "https://hooks.example@evil.example/"),
        (Channel.WEBHOOK, "http://127.0.0.1:9101/in"),
        (Channel.WEBHOOK, "http://[nonsense/"),
        (Channel.PUSH, json.dumps({"endpoint": "https://push.example/1"})),
        (Channel.PUSH, json.dumps(["https://hooks.example/"])),
        (Channel.PUSH, "nonsense"),
        ("carrier pigeon", "ada@example.com"),
    ],
)
def test_nobody_else_is(channel: Channel, address: str) -> None:
    assert not Staging.of(SETTING).may(channel, address)


def test_where_nobody_is_named_everybody_is_written_to() -> None:
    assert Staging.of(" , ").may(Channel.EMAIL, "bob@example.com")
    assert not Staging.of(" , ").on


@pytest.mark.parametrize(
    "setting", ["shop example", "@", "ada@", "+1", "https://hooks.example/", "a@b@c.example"]
)
def test_a_typing_error_lets_nobody_through(setting: str) -> None:
    with pytest.raises(ValueError, match=r"can't be used|is no address"):
        Staging.of(setting)
