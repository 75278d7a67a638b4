"""A mail server that somebody named: only on the public Internet, and never for longer than a lease lasts."""

import asyncio
from collections.abc import Sequence

import pytest
from pydantic import ValidationError

from channels.contract import World
from channels.egress import EgressTransport
from channels.smtp import SmtpProvider
from channels.smtp_account import KIND, guarded
from channels.smtp_wire import Server, Timeouts
from domain.networks import networks_of
from lab.smtp import SmtpLab
from tests.channels.mail_support import a_world, an_account, settings_of
from tests.channels.smtp_support import (
    ACCEPTED,
    RETRY,
    UNKNOWN,
    ALetter,
    a_server_that,
    certified,
    counts,
    envelopes,
    kinds,
    saying_after_data,
    trusting,
)

HERE = networks_of("127.0.0.0/8")


def opened(port: int, world: World, **settings: object) -> SmtpProvider:
    chosen = settings_of(KIND, **{"host": "127.0.0.1", "port": port, "security": "none", **settings})
    account = KIND.open(an_account(chosen), world)
    assert isinstance(account, SmtpProvider)
    return account


async def test_a_server_in_an_allowed_network_gets_the_mail() -> None:
    async with SmtpLab() as lab:
        account = opened(lab.port, a_world({}))
        outcomes = await account.send(ALetter(), envelopes(5))
        assert await account.check() is None
        await account.close()

        assert len(lab.accepted) == 5
    assert kinds(outcomes) == [ACCEPTED] * 5


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]".strip("[]"), "::ffff:127.0.0.1"]
)
async def test_a_server_within_is_not_called(host: str) -> None:
    world = World(EgressTransport, {}, "https://mail.example")
    async with SmtpLab() as lab:
        account = opened(lab.port, world, host=host)
        outcomes = await account.send(ALetter(), envelopes(2))
        found = await account.check()
        await account.close()

        assert lab.connections == 0
    assert kinds(outcomes) == [RETRY] * 2
    assert str(outcomes[0].reason).startswith("sender: ")
    assert "not on the public Internet" in str(found)


async def test_a_name_that_answers_otherwise_a_moment_later_gains_nothing() -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["192.0.2.1"] if len(asked) == 1 else ["127.0.0.1"]

    refused = World(lambda: EgressTransport(resolve=resolve), {}, "https://mail.example")
    async with SmtpLab() as lab:
        account = opened(lab.port, refused, host="mail.shop.example")
        outcomes = await account.send(ALetter(), envelopes(1))
        await account.close()

        assert lab.connections == 0
    assert kinds(outcomes) == [RETRY]
    assert asked == ["mail.shop.example"]


async def test_the_certificate_is_asked_for_by_name_though_the_address_is_called() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.2", "127.0.0.1"]  # Nobody is at the first.

    def egress() -> EgressTransport:
        return EgressTransport(HERE, resolve=resolve)

    for scheme, name, kind in (
        ("smtp+starttls", "localhost", ACCEPTED),
        ("smtp+starttls", "other.example", RETRY),
    ):
        async with SmtpLab(tls=certified()) as lab:
            server = Server(name, lab.port, scheme, resolve=guarded(egress))
            account = SmtpProvider(server, tls=trusting())
            outcomes = await account.send(ALetter(), envelopes(1))
            await account.close()

        assert kinds(outcomes) == [kind]


async def test_a_host_that_is_not_there_is_tried_again() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return []

    account = opened(25, World(lambda: EgressTransport(HERE, resolve=resolve), {}, ""), host="no.example")
    outcomes = await account.send(ALetter(), envelopes(1))
    await account.close()

    assert kinds(outcomes) == [RETRY]
    assert "There is no host no.example" in str(outcomes[0].reason)


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "mail.example/x"},
        {"host": "a b"},
        {"host": "mail.example\r\nX"},
        {"host": ""},
        {"port": 0},
        {"user": "ada"},
        {"password": "secret"},
        {"user": "ada", "password": "secret", "security": "none"},
        {"security": "ssl"},
        {"connections": 1000},
    ],
)
def test_settings_that_can_not_be_right_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        settings_of(KIND, **{"host": "mail.example", **settings})


def test_an_account_shows_no_password() -> None:
    settings = settings_of(KIND, host="mail.example", user="ada", password="s3cret-word")
    account = KIND.open(an_account(settings), a_world({}))
    assert isinstance(account, SmtpProvider)

    assert account.server.port == 587
    assert "s3cret-word" not in repr(settings) + repr(account.server)


# A batch ends in time.

SHORT = Timeouts(taking=0.3, batch=0.6)  # The others are longer than any test.


async def test_a_slow_server_gets_no_new_message_when_the_time_is_up() -> None:
    async with SmtpLab(pace=0.05) as lab:
        account = SmtpProvider(f"smtp://127.0.0.1:{lab.port}", connections=1, timeouts=SHORT)
        outcomes = await account.send(ALetter(), envelopes(40))
        taken = counts(outcomes)[ACCEPTED]
        again = await account.send(ALetter(), envelopes(2))
        await account.close()

        assert len(lab.accepted) == taken + 2
    assert 2 <= taken <= 10
    assert counts(outcomes)[RETRY] == 40 - taken
    assert kinds(again) == [ACCEPTED] * 2


async def test_a_silent_server_leaves_one_message_unknown_when_the_time_is_up() -> None:
    swallow = saying_after_data(b"250 Fine\r\n250 Fine\r\n354 Go on\r\n")
    async with a_server_that(swallow) as port:
        account = SmtpProvider(f"smtp://127.0.0.1:{port}", connections=1, timeouts=SHORT)
        began = asyncio.get_running_loop().time()
        outcomes = await account.send(ALetter(), envelopes(5))
        took = asyncio.get_running_loop().time() - began
        await account.close()

    assert took < 2
    assert kinds(outcomes) == [UNKNOWN] + [RETRY] * 4


async def test_a_batch_behind_anothers_silence_ends_in_time_too() -> None:
    swallow = saying_after_data(b"250 Fine\r\n250 Fine\r\n354 Go on\r\n")
    async with a_server_that(swallow) as port:
        account = SmtpProvider(f"smtp://127.0.0.1:{port}", connections=1, timeouts=SHORT)
        first = asyncio.create_task(account.send(ALetter(), envelopes(1)))
        await asyncio.sleep(0.2)
        began = asyncio.get_running_loop().time()
        second = await account.send(ALetter(), envelopes(2))
        took = asyncio.get_running_loop().time() - began
        await account.close()

    assert took < 2
    assert kinds(await first) == [UNKNOWN]
    assert kinds(second) == [RETRY] * 2
