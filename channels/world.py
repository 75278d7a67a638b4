"""What accounts are opened with, from plain values of the settings."""

from collections.abc import Mapping

from channels.contract import World
from channels.egress import EgressTransport
from domain.networks import networks_of


def world(networks: str, endpoints: Mapping[str, str], public_url: str, *, plain: bool) -> World:
    """`networks` are those that are called beside the public ones (CIDRs); `plain` lets http:// through."""
    allowed = networks_of(networks)
    return World(lambda: EgressTransport(allowed, plain=plain), endpoints, public_url.rstrip("/"))
