"""A stretch of network that can be cut: it stands between us and PostgreSQL."""

import asyncio
from contextlib import suppress

from sqlalchemy import make_url


class Relay:
    """Passes bytes on to the server of a database's URL. Nobody gets through while it is cut."""

    def __init__(self, url: str) -> None:
        self._to = make_url(url)
        self._server: asyncio.Server | None = None
        self._pairs: set[asyncio.StreamWriter] = set()
        self.port = 0  # Chosen when it is mended first, and kept.

    def url(self, url: str) -> str:
        """The URL of a database on that server, by way of this relay."""
        return make_url(url).set(host="127.0.0.1", port=self.port).render_as_string(hide_password=False)

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """From now on connections break, and new ones are refused."""
        if self._server is not None:
            self._server.close()
        for writer in self._pairs:
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(self._to.host, self._to.port)
        self._pairs |= {writer, forth}
        await asyncio.gather(_copy(reader, forth), _copy(back, writer))
        self._pairs -= {writer, forth}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
