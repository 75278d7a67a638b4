"""Connections for HTTP that are read in small sips, and not for ever before an answer begins.

What was read at once is taken apart without giving others a turn. So somebody who sends very many very small
pieces, such as `100 Continue` without end or a body of single bytes, would hold up everything else in the
process (https://www.rfc-editor.org/rfc/rfc9110.html#section-15.2 sets no limit to what may come before).
"""

import asyncio
import ssl
from collections.abc import Iterable
from typing import Any

from httpcore2 import (
    SOCKET_OPTION,
    AnyIOBackend,
    AsyncConnectionPool,
    AsyncNetworkBackend,
    AsyncNetworkStream,
)
from httpx2 import AsyncHTTPTransport, RemoteProtocolError, Request, Response

SIP = 2 * 1024  # Bytes.
MOST_BEFORE = 32 * 1024  # Bytes until the head of the answer is there.


class SippingTransport(AsyncHTTPTransport):
    """For one request: each has its own."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__(verify=tls, trust_env=False)
        self._meter = _Meter()
        self._pool = AsyncConnectionPool(ssl_context=tls, network_backend=_Backend(self._meter))

    async def handle_async_request(self, request: Request) -> Response:
        """Raises `RemoteProtocolError` for an answer that does not begin."""
        answer = await super().handle_async_request(request)
        self._meter.began = True
        return answer


class _Meter:
    """What was read."""

    def __init__(self) -> None:
        self.began = False  # The answer: its head is there.
        self._read = 0

    def add(self, read: int) -> None:
        self._read += read
        if self._read > MOST_BEFORE and not self.began:
            raise RemoteProtocolError("There is much that comes, and no answer.")


class _Stream(AsyncNetworkStream):
    def __init__(self, under: AsyncNetworkStream, meter: _Meter) -> None:
        self._under, self._meter = under, meter

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        sip = await self._under.read(min(max_bytes, SIP), timeout)
        self._meter.add(len(sip))
        await asyncio.sleep(0)  # What has come already is read without a wait.
        return sip

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._under.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._under.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> AsyncNetworkStream:
        return _Stream(await self._under.start_tls(ssl_context, server_hostname, timeout), self._meter)

    def get_extra_info(self, info: str) -> Any:
        return self._under.get_extra_info(info)


class _Backend(AsyncNetworkBackend):
    def __init__(self, meter: _Meter) -> None:
        self._under, self._meter = AnyIOBackend(), meter

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        under = await self._under.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(under, self._meter)
