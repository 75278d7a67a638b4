"""Providers that take everything, count it, and throw it away: `python -m bench.http_sink PORT`.

It answers as SendGrid's and SES's sending calls do, and checks nothing: the lab does that, and would be what
is measured. `GET /counts` has the calls and the messages that came to each; `POST /fail/sendgrid` makes that
one answer 500 from now on.
"""

import asyncio
import sys
from typing import cast

import orjson
import uvloop

_ACCEPTED = b'{"Status":"SUCCESS","MessageId":"0102019f-sink"}'
_BROKEN = b'{"errors":[{"message":"internal error","field":null,"help":null}]}'
_WORDS = {200: b"OK", 202: b"Accepted", 404: b"Not Found", 500: b"Internal Server Error"}


class Sink:
    """What all connections share."""

    def __init__(self) -> None:
        self.calls = {"sendgrid": 0, "ses": 0}
        self.messages = {"sendgrid": 0, "ses": 0}
        self.failing: set[str] = set()

    def answer(self, target: bytes, body: bytes) -> tuple[int, bytes]:
        if target == b"/counts":
            return 200, orjson.dumps({"calls": self.calls, "messages": self.messages})
        if target.startswith(b"/fail/"):
            self.failing.add(target.removeprefix(b"/fail/").decode())
            return 200, b"{}"
        if target == b"/v3/mail/send":
            return self.taken("sendgrid", body.count(b'"to":'), b"", 202)
        if target.startswith(b"/v2/email/outbound-bulk-emails"):
            n = body.count(b'"ToAddresses"')
            entries = b",".join([_ACCEPTED] * n)
            return self.taken("ses", n, b'{"BulkEmailEntryResults":[' + entries + b"]}", 200)
        return 404, b"{}"

    def taken(self, provider: str, n: int, body: bytes, status: int) -> tuple[int, bytes]:
        self.calls[provider] += 1
        if provider in self.failing:
            return 500, _BROKEN
        self.messages[provider] += n
        return status, body


class Connection(asyncio.Protocol):
    """HTTP/1.1 as far as clients with Content-Length speak it, one request after the other."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.kept = bytearray()
        self.size = 0  # Of the request at hand, once its head has come.
        self.target = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.kept += data
        while self.kept:
            if not self.size:
                end = self.kept.find(b"\r\n\r\n")
                if end < 0:
                    return
                self.read_head(bytes(self.kept[:end]), end + 4)
            if len(self.kept) < self.size:
                return
            status, body = self.sink.answer(self.target, bytes(self.kept[self.begin : self.size]))
            del self.kept[: self.size]
            self.size = 0
            head = b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            self.transport.write(head % (status, _WORDS[status], len(body)) + body)

    def read_head(self, head: bytes, begin: int) -> None:
        first, *lines = head.split(b"\r\n")
        self.target = first.split(b" ")[1].split(b"?")[0]
        self.begin, length = begin, 0
        for line in lines:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
            elif name.lower() == b"expect":
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.size = begin + length


async def serve(port: int) -> None:
    sink = Sink()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(sink), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
