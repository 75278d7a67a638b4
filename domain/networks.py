"""Addresses of the network: which of them are the public Internet's."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address.
# Python takes them for public: protocol assignments (RFC 6890; Oracle's metadata), Azure's wire server,
# relays for 6to4 (RFC 7526), and documentation (RFC 9637).
_NOT_PUBLIC = (
    IPv4Network("192.0.0.0/24"),
    IPv4Network("168.63.129.16/32"),
    IPv4Network("192.88.99.0/24"),
    IPv6Network("3fff::/20"),
)


def networks_of(setting: str) -> tuple[Network, ...]:
    """From a comma list of CIDRs. Raises ValueError."""
    return tuple(ip_network(part.strip()) for part in setting.split(",") if part.strip())


def name_servers_of(setting: str) -> list[tuple[str, int]]:
    """Addresses and ports, from a comma list of addresses, with :port if it is not 53. Raises ValueError."""
    servers = []
    for part in filter(None, map(str.strip, setting.split(","))):
        named = part if "[" in part or part.count(":") < 2 else f"[{part}]"
        parts = urlsplit(f"//{named}")
        servers.append((str(ip_address(parts.hostname or "")), parts.port or 53))
    return servers


def is_public(address: Address) -> bool:
    """Whether it is an address of the Internet, also of one that it wraps for the way through IPv6."""
    if isinstance(address, IPv6Address):
        if (within := _wrapped(address)) is not None:
            return is_public(within)
        if address.is_site_local:
            return False
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _wrapped(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


def place_of(host: str) -> str:
    """Where somebody is: of IPv6 the network of 64 bits, since one customer has all of its addresses."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    return str(address.ipv4_mapped or IPv6Network((int(address) >> 64 << 64, 64)))
