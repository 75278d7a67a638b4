"""A name that nobody answers for keeps nobody waiting but those who ask for it."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from httpx2 import ConnectError

from channels import look_ups
from channels.egress import EgressClient, EgressTransport, Overburdened
from channels.look_ups import LookUps

Found = list[tuple[int, int, int, str, tuple[str, int]]]


class Names:
    """A resolver that finds names at once, those that end with .dead only when it is over."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.asked: Counter[str] = Counter()

    def resolve(self, host: str, port: int, **named: Any) -> Found:
        self.asked[host] += 1
        if not host.endswith(".dead"):
            return [(2, 1, 6, "", ("8.8.8.8", port))]
        self.over.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.resolve)
    monkeypatch.setattr(look_ups, "LONGEST_LOOK_UP", 0.2)
    monkeypatch.setattr(look_ups, "SOON", 0.1)
    yield names
    names.over.set()


async def all_of(of: LookUps, *hosts: str) -> list[Any]:
    return await asyncio.gather(*(of.look_up(host, 443) for host in hosts), return_exceptions=True)


async def test_a_name_has_one_thread_however_many_ask(names: Names) -> None:
    of = LookUps(1, 2)

    ends = await all_of(of, *["a.dead"] * 9)
    again = await all_of(of, "a.dead", "shop.example")

    assert {type(end) for end in ends} == {TimeoutError}
    assert names.asked == {"a.dead": 1, "shop.example": 1}
    assert again[1] == ["8.8.8.8"]


async def test_names_that_were_answered_go_before_those_that_are_not(names: Names) -> None:
    of = LookUps(1, 2)
    await of.look_up("shop.example", 443)

    ends = await all_of(of, "a.dead", "b.dead", "c.dead", "shop.example")
    late = await all_of(of, "new.example", "shop.example")

    assert [type(end) for end in ends[:3]] == [TimeoutError, TimeoutError, look_ups.NoTurn]
    assert type(late[0]) is look_ups.NoTurn, "nobody asked, which is no fault of the name"
    assert ends[3] == late[1] == ["8.8.8.8"]


async def test_a_name_that_is_answered_no_more_is_none_of_them(names: Names) -> None:
    of = LookUps(1, 2)
    await of.look_up("shop.example", 443)
    of._note("a.dead", soon=True)

    await all_of(of, "a.dead")
    names.over.set()
    await of.look_up("shop.example", 443)  # By the same thread, when that is done.
    names.over.clear()

    await all_of(of, "a.dead")
    assert await of.look_up("shop.example", 443) == ["8.8.8.8"]


async def test_other_work_goes_on(names: Names) -> None:
    of = LookUps(1, 1)
    await all_of(of, *(f"h{n}.dead" for n in range(99)))
    async with asyncio.timeout(2):
        assert await asyncio.to_thread(lambda: "at once") == "at once"
    assert sum(thread.name.startswith("look-up") for thread in threading.enumerate()) <= (
        look_ups.RESOLVERS + look_ups.OTHERS + 9
    )


async def test_a_name_is_looked_up_for_some_seconds_only(names: Names) -> None:
    of = LookUps(1, 1)
    client = EgressClient(EgressTransport(resolve=of.look_up))
    with pytest.raises(ConnectError, match=r"where a\.dead is"):
        await client.get("https://a.dead/")
    with pytest.raises(Overburdened, match=r"so b\.dead was not"):
        await client.get("https://b.dead/")
