"""An address that somebody gave us leads nowhere but to the public Internet, however it is written."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest
from httpx2 import ConnectError, HTTPError, TimeoutException

from channels.egress import EgressClient, EgressRefused, EgressTransport, Resolve
from channels.look_ups import look_up
from domain.networks import is_public, networks_of
from tests.channels.smtp_support import certified, trusting

HERE = networks_of("127.0.0.0/8")


def naming(*answers: Sequence[str]) -> Resolve:
    """A resolver that answers one after the other, and the last one for ever."""
    left = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


@asynccontextmanager
async def a_site(
    answer: bytes | Callable[[bytes], bytes], tls: ssl.SSLContext | None = None, at: str = "127.0.0.1"
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A web server of one answer: its port, and the requests that it heard."""
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        heard.append(request)
        writer.write(answer if isinstance(answer, bytes) else answer(request))
        writer.close()

    server = await asyncio.start_server(talk, at, 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


def saying(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://10.1.2.3/",
        "https://172.16.0.1/",
        "https://192.168.1.1/",
        "https://100.64.0.1/",
        "https://169.254.1.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://192.0.0.192/opc/v1/",
        "https://168.63.129.16/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://[::1]/",
        "https://[::]/",
        "https://[fe80::1]/",
        "https://[fd00:ec2::254]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://[64:ff9b:1::7f00:1]/",
        "https://[2002:a9fe:a9fe::1]/",
        "https://[::ffff:0:127.0.0.1]/",
        "https://[2001::1]/",
        "https://[fec0::1]/",
        "https://[ff02::1]/",
        "https://[3fff::1]/",
        "https://192.88.99.1/",
        "https://198.18.0.1/",
        "https://240.0.0.1/",
        "https://255.255.255.255/",
        "https://100.100.100.200/latest/meta-data/",
        "https://[2002:7f00:1::]/",
        "https://[::127.0.0.1]/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://017700000001/",
        "https://0/",
        "https://0x7f.1/",
        "https://0xa9fea9fe/",
        "https://2852039166/",
        "https://0251.0376.0251.0376/",
        "https://169.16689662/",
        "https://127\u30020\u30020\u30021/",
    ],
)
async def test_what_is_not_public_is_not_called_however_it_is_written(url: str) -> None:
    with pytest.raises(EgressRefused):
        await EgressClient(EgressTransport()).get(url)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_what_is_public_is(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "host",
    ["metadata.google.internal", "metadata", "instance-data.ec2.internal", "kubernetes.default.svc", "db"],
)
async def test_a_name_of_the_inner_network_is_known_by_where_it_leads(host: str) -> None:
    guard = EgressTransport(resolve=naming(["169.254.169.254"]))

    with pytest.raises(EgressRefused, match="not on the public Internet"):
        await EgressClient(guard).get(f"https://{host}/computeMetadata/v1/")


@pytest.mark.parametrize(
    "url",
    [
        "https://ada:secret@shop.example/",
        "https://ada@shop.example/",
        "https://shop.example@127.0.0.1/",
        "https://127.0.0.1\\@shop.example/",
    ],
)
async def test_what_stands_before_an_at_sign_fools_nobody(url: str) -> None:
    with pytest.raises(EgressRefused) as refused:
        await EgressClient(EgressTransport(resolve=naming(["8.8.8.8"]))).get(url)

    assert "secret" not in refused.value.message


@pytest.mark.parametrize("found", [["10.0.0.7"], ["8.8.8.8", "10.0.0.7"], ["fe80::1%eth0"]])
async def test_a_name_with_a_private_address_among_its_own_is_not_called(found: list[str]) -> None:
    guard = EgressTransport(resolve=naming(found))

    with pytest.raises(EgressRefused) as refused:
        await EgressClient(guard).get("https://intranet.shop.example/")

    assert (
        refused.value.message == "intranet.shop.example is not on the public Internet, so it is not called."
    )


async def test_a_name_that_answers_otherwise_a_moment_later_gains_nothing() -> None:
    """The connection goes to the address that was looked at; nobody asks for the name again."""
    async with a_site(saying(b"the first")) as (port, heard):
        resolve = naming(["127.0.0.1"], ["127.0.0.9"])
        guard = EgressTransport(HERE, plain=True, resolve=resolve)

        answer = await EgressClient(guard).get(f"http://rebinding.example:{port}/x?y=1")

    assert answer.text == "the first"
    assert heard[0].startswith(b"GET /x?y=1 HTTP/1.1\r\n")
    assert f"host: rebinding.example:{port}\r\n".encode() in heard[0].lower()
    assert await resolve("rebinding.example", port) == ["127.0.0.9"]


async def test_the_second_address_is_tried_when_the_first_is_dead() -> None:
    async with a_site(saying(b"here")) as (port, _):
        guard = EgressTransport(HERE, plain=True, resolve=naming(["127.0.0.77", "127.0.0.1"]))

        assert (await EgressClient(guard).get(f"http://shop.example:{port}/")).text == "here"


async def test_a_certificate_must_be_of_the_name_that_was_asked_for() -> None:
    async with a_site(saying(b"yes"), tls=certified()) as (port, _):
        guard = EgressTransport(HERE, resolve=naming(["127.0.0.1"]), tls=trusting())

        assert (await EgressClient(guard).get(f"https://localhost:{port}/")).text == "yes"
        with pytest.raises(ConnectError, match="mismatch"):
            await EgressClient(guard).get(f"https://shop.example:{port}/")


async def test_a_redirect_is_answered_and_not_followed() -> None:
    to = "Location: http://169.254.169.254/latest/meta-data/"
    async with a_site(saying(b"", to, status="302 Found")) as (port, _):
        client = EgressClient(EgressTransport(HERE, plain=True))

        assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == 302
        with pytest.raises(EgressRefused):  # Whoever follows one by hand is stopped where it leads.
            await client.get(f"http://127.0.0.1:{port}/", follow_redirects=True)


@pytest.mark.parametrize(
    "answer",
    [
        saying(b"x" * 1_000_001),
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_100_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"ffff\r\n" + b"x" * 65_535 + b"\r\n") * 17,
        saying(b"\x1f\x8b", "Content-Encoding: gzip"),
    ],
    ids=["said", "unsaid", "in chunks", "packed"],
)
async def test_an_answer_that_is_too_large_or_may_become_it_is_refused(answer: bytes) -> None:
    async with a_site(answer) as (port, _):
        with pytest.raises(EgressRefused):
            await EgressClient(EgressTransport(HERE, plain=True)).get(f"http://127.0.0.1:{port}/")


async def test_headers_without_end_are_not_read_to_their_end() -> None:
    async with a_site(b"HTTP/1.1 200 OK\r\n" + b"X-More: of the same\r\n" * 100_000) as (port, _):
        with pytest.raises(HTTPError):
            await EgressClient(EgressTransport(HERE, plain=True)).get(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("begins", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: "], ids=["silent", "in a header"])
async def test_whoever_does_not_come_to_the_body_is_left(begins: bytes) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begins)
        while begins and not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.05)
        await reader.read()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server:
        guard = EgressTransport(HERE, plain=True, seconds=0.3)
        with pytest.raises(TimeoutException):
            await EgressClient(guard).get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


async def test_a_look_up_without_end_is_left() -> None:
    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(60)
        return ["8.8.8.8"]

    with pytest.raises(TimeoutException):
        await EgressClient(EgressTransport(resolve=never, seconds=0.2)).get("https://shop.example/")


@pytest.mark.parametrize(
    "to",
    [
        "http://shop.example/",
        "ftp://shop.example/",
        "https://127.0.0.1/",
        "https://[::ffff:127.0.0.1]/",
        "https://0x7f000001/",
        "https://ada:secret@shop.example/",
        "//169.254.169.254/latest/",
    ],
)
async def test_whoever_follows_a_redirect_by_hand_is_stopped_by_the_same_guard(to: str) -> None:
    allowed = networks_of("127.0.0.9/32")  # Where the first answer is from, and nothing else.
    guard = EgressTransport(allowed, resolve=found_next_door, tls=trusting())
    async with a_site(saying(b"", f"Location: {to}", status="302 Found"), certified(), "127.0.0.9") as (
        port,
        _,
    ):
        with pytest.raises(EgressRefused):
            await EgressClient(guard).get(f"https://localhost:{port}/", follow_redirects=True)


async def found_next_door(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.9"] if host == "localhost" else await look_up(host, port)


async def test_whoever_answers_drop_by_drop_is_left() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.05)

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        guard = EgressTransport(HERE, plain=True, seconds=0.3)
        with pytest.raises(TimeoutException, match=r"did not answer in 0\.3 s"):
            await EgressClient(guard).get(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/",
        "ftp://shop.example/",
        "file:///etc/passwd",
        "gopher://shop.example/",
        "ws://shop.example/",
        "data:text/plain,x",
    ],
)
async def test_only_https_is_spoken(url: str) -> None:
    with pytest.raises(EgressRefused, match="https://"):
        await EgressClient(EgressTransport(resolve=naming(["8.8.8.8"]))).get(url)


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with a_site(saying(b"directly")) as (port, _):
        client = EgressClient(EgressTransport(HERE, plain=True))

        assert (await client.get(f"http://127.0.0.1:{port}/")).text == "directly"


async def test_a_host_that_is_not_there_can_not_be_reached() -> None:
    with pytest.raises(ConnectError, match=r"There is no host nowhere\.example"):
        await EgressClient(EgressTransport(resolve=naming([]))).get("https://nowhere.example/")
