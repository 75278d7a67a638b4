"""A name server that publishes what it is told to: where tests and trials look a domain up."""

import asyncio
from types import TracebackType
from typing import Self, cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class DnsLab:
    """Answers by UDP on a port of the loopback address.

    `records` are lines by name and type. A name that has none does not exist; `silent` answers nobody.
    """

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.silent = False
        self.port = 0

    def text(self, name: str, *texts: str) -> None:
        """Publish these texts there, and no others: in pieces of at most 255 characters (RFC 7208, 3.3)."""
        self.records[name, "TXT"] = [
            " ".join(f'"{text[at : at + 255]}"' for at in range(0, len(text), 255)) for text in texts
        ]

    def host(self, name: str, type_: str, value: str) -> None:
        """Publish an MX ("10 mail.example.") or a CNAME ("mail.example.")."""
        self.records[name, type_] = [value]

    def answer(self, raw: bytes) -> bytes:
        question = dns.message.from_wire(raw)
        asked = question.question[0]
        name, type_ = asked.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(asked.rdtype)
        reply = dns.message.make_response(question)
        reply.flags |= dns.flags.RA
        if found := self.records.get((name, type_)):
            reply.answer.append(dns.rrset.from_text_list(asked.name, 60, "IN", type_, found))
        elif name not in {known for known, _ in self.records}:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply.to_wire(max_size=65_000)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: _Answering(self), local_addr=("127.0.0.1", 0)
        )
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.close()


class _Answering(asyncio.DatagramProtocol):
    def __init__(self, lab: DnsLab) -> None:
        self.lab = lab

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self.lab.silent:
            self.transport.sendto(self.lab.answer(data), addr)
