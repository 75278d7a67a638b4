"""What domains publish, asked of the DNS."""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.resolver

from domain.networks import name_servers_of
from domain.sending_domains import (
    About,
    Finding,
    Record,
    about_dkim,
    about_dmarc,
    about_host,
    about_spf,
    itself_and_above,
)

SECONDS = 5.0  # For one question, with all its tries.


class Published(Protocol):
    """What can be asked. Each answers None where nobody could say, and nothing where there is nothing."""

    async def texts(self, name: str) -> list[str] | None: ...

    async def mail_hosts(self, name: str) -> list[str] | None: ...

    async def alias(self, name: str) -> list[str] | None: ...


class Dns:
    """Asks the system's name servers, or others."""

    def __init__(self, servers: str = "") -> None:
        """`servers` as `domain.networks.name_servers_of` reads them; the system's where it is empty."""
        self._resolver = dns.asyncresolver.Resolver(configure=not servers)
        self._resolver.lifetime = SECONDS
        if servers:
            self._resolver.nameservers = [
                dns.nameserver.Do53Nameserver(*server) for server in name_servers_of(servers)
            ]

    async def texts(self, name: str) -> list[str] | None:
        found = await self._ask(name, "TXT")
        return found and [b"".join(each.strings).decode("utf-8", "replace") for each in found]

    async def mail_hosts(self, name: str) -> list[str] | None:
        found = await self._ask(name, "MX")
        return found and [each.exchange.to_text(omit_final_dot=True) for each in found]

    async def alias(self, name: str) -> list[str] | None:
        found = await self._ask(name, "CNAME")
        return found and [each.target.to_text(omit_final_dot=True) for each in found]

    async def _ask(self, name: str, kind: str) -> list[Any] | None:
        try:
            return [*await self._resolver.resolve(name, kind, search=False)]
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except dns.exception.DNSException:
            return None


async def look(records: Sequence[Record], published: Published) -> list[Finding]:
    """What stands where these records should, in their order; all are asked at once."""
    return await asyncio.gather(*(_look(record, published) for record in records))


async def _look(record: Record, published: Published) -> Finding:
    match record.about:
        case About.DKIM:
            return about_dkim(record, await published.texts(record.name))
        case About.SPF:
            return about_spf(record, await published.texts(record.name))
        case About.DMARC:
            return await _look_for_policy(record, published)
        case About.RETURN_PATH:
            return about_host(record, await published.mail_hosts(record.name))
        case About.TRACKING:
            return about_host(record, await published.alias(record.name))


async def _look_for_policy(record: Record, published: Published) -> Finding:
    """A domain without a policy has the nearest one above it (RFC 7489, section 6.6.3)."""
    found: list[str] | None = []
    at = record.name
    for name in itself_and_above(record.name.removeprefix("_dmarc.")):
        at = f"_dmarc.{name}"
        found = await published.texts(at)
        if found is None or any("dmarc1" in text.lower() for text in found):
            break
    return about_dmarc(record, found, at)
