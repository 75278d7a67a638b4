"""Connections that are kept lead nowhere else than new ones, and an answer is heard whatever its length."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
from httpx2 import ConnectError, HTTPError, ReadTimeout, RemoteProtocolError

from channels import posts
from channels.egress import EgressRefused, EgressTransport
from channels.posts import Poster
from tests.channels.smtp_support import certified, trusting
from tests.channels.test_egress import HERE, naming, saying


@dataclass
class Server:
    """Speaks HTTP/1.1 on connections that it keeps, as long as its answer lets it."""

    answer: Callable[[int], bytes]
    connections: int = 0
    heard: list[bytes] = field(default_factory=list)
    hang_up_after: int = 1_000  # Requests of one connection.
    port: int = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            for _ in range(self.hang_up_after):
                head = await reader.readuntil(b"\r\n\r\n")
                self.heard.append(head + await reader.readexactly(2))
                writer.write(self.answer(len(self.heard)))
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(
    answer: bytes | Callable[[int], bytes], hang_up_after: int = 1_000
) -> AsyncIterator[Server]:
    server = Server((lambda _: answer) if isinstance(answer, bytes) else answer, hang_up_after=hang_up_after)
    listening = await asyncio.start_server(server.talk, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


def a_guard(*answers: Sequence[str], seconds: float = 5) -> EgressTransport:
    return EgressTransport(HERE, plain=True, resolve=naming(*(answers or [["127.0.0.1"]])), seconds=seconds)


async def test_a_connection_is_kept_for_the_next_post() -> None:
    async with serving(saying(b"yes")) as server:
        poster = Poster(a_guard(), f"http://shop.example:{server.port}/hook?x=1#y")
        answers = [await poster.post({"webhook-id": str(n)}, b"{}") for n in range(3)]
        poster.close()

    assert [answer.body for answer in answers] == [b"yes"] * 3
    assert server.connections == 1
    first = server.heard[0].decode().lower()
    assert first.startswith("post /hook?x=1 http/1.1\r\n")
    assert f"host: shop.example:{server.port}\r\n" in first
    assert "webhook-id: 0\r\n" in first
    assert first.endswith("content-length: 2\r\nwebhook-id: 0\r\n\r\n{}")


async def test_one_that_was_closed_meanwhile_is_made_anew() -> None:
    async with serving(saying(b"yes"), hang_up_after=1) as server:
        poster = Poster(a_guard(), f"http://shop.example:{server.port}/")
        for _ in range(3):
            assert (await poster.post({}, b"{}")).status == 200
            await asyncio.sleep(0.05)
        poster.close()

    assert (server.connections, len(server.heard)) == (3, 3)


async def test_a_name_that_leads_inside_a_moment_later_is_not_called_by_a_kept_connection_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(posts, "FRESH_FOR", 0)
    async with serving(saying(b"yes")) as server:
        guard = a_guard(["127.0.0.1"], ["10.0.0.7"])
        poster = Poster(guard, f"http://rebinding.example:{server.port}/")
        assert (await poster.post({}, b"{}")).status == 200
        with pytest.raises(EgressRefused, match="not on the public Internet"):
            await poster.post({}, b"{}")
        poster.close()

    assert len(server.heard) == 1


async def test_a_name_that_moved_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posts, "FRESH_FOR", 0)
    async with serving(saying(b"yes")) as server:
        guard = a_guard(["127.0.0.1"], ["127.0.0.77"])
        poster = Poster(guard, f"http://shop.example:{server.port}/")
        await poster.post({}, b"{}")
        with pytest.raises(ConnectError):
            await poster.post({}, b"{}")
        poster.close()


async def test_a_certificate_must_be_of_the_name() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(saying(b"yes"))
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0, ssl=certified()) as server:
        port = server.sockets[0].getsockname()[1]
        guard = EgressTransport(HERE, resolve=naming(["127.0.0.1"]), tls=trusting())

        assert (await Poster(guard, f"https://localhost:{port}/").post({}, b"{}")).body == b"yes"
        with pytest.raises(ConnectError, match="mismatch"):
            await Poster(guard, f"https://shop.example:{port}/").post({}, b"{}")


@pytest.mark.parametrize(
    "answer",
    [
        saying(b"x" * 1_000_000),
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 3_000 + b"0\r\n\r\n",
    ],
)
async def test_a_body_without_end_was_heard_and_costs_a_moment(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posts, "LONGEST_BODY", 0.2)
    async with serving(answer) as server:
        poster = Poster(a_guard(), f"http://shop.example:{server.port}/")
        found = await poster.post({}, b"{}")
        await poster.post({}, b"{}")
        poster.close()

    assert found.status == 200
    assert len(found.body) <= posts.LARGEST_BODY
    assert server.connections == 2


async def test_whoever_only_says_that_an_answer_will_come_is_not_listened_to_for_long() -> None:
    promise = b"HTTP/1.1 100 Continue\r\n\r\n"
    async with serving(promise * 2 + saying(b"yes")) as server:
        assert (await Poster(a_guard(), f"http://shop.example:{server.port}/").post({}, b"{}")).body == b"yes"
    async with serving(promise * 4_000) as server:
        with pytest.raises(RemoteProtocolError, match="only says"):
            await Poster(a_guard(), f"http://shop.example:{server.port}/").post({}, b"{}")


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000])
async def test_what_is_no_answer_is_said_to_be_none(answer: bytes) -> None:
    async with serving(answer, hang_up_after=1) as server:
        with pytest.raises(HTTPError):
            await Poster(a_guard(), f"http://shop.example:{server.port}/").post({}, b"{}")


async def test_whoever_does_not_answer_is_waited_for_only_so_long() -> None:
    async with serving(b"HTTP/1.1 200") as server:
        poster = Poster(a_guard(seconds=0.2), f"http://shop.example:{server.port}/")
        with pytest.raises(ReadTimeout, match=r"did not answer in 0\.2 s"):
            await poster.post({}, b"{}")


async def test_whoever_takes_nothing_is_left_with_what_was_not_sent() -> None:
    hung_up = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await over.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        with suppress(OSError):
            while await reader.read(1 << 20):
                pass
        hung_up.set()
        writer.close()

    over = asyncio.Event()
    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ReadTimeout):
            await Poster(a_guard(seconds=0.2), f"http://shop.example:{port}/").post({}, b"x" * 20_000_000)
        over.set()
        async with asyncio.timeout(5):
            await hung_up.wait()


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://0x7f.1/",
        "https://[::1]/",
        "http://8.8.8.8/",
        "https://a:b@shop.example/",
        "https://8.8.8.8:65536/",
        "https://8.8.8.8:-1/",
    ],
)
async def test_what_is_not_called_otherwise_is_not_posted_to(url: str) -> None:
    with pytest.raises(EgressRefused):
        await Poster(EgressTransport(), url).post({}, b"{}")
