"""What accounts are opened with, from plain values of the settings."""

from collections.abc import Collection, Mapping

from channels import registry
from channels.contract import World
from channels.egress import EgressTransport
from channels.sns import SNS
from domain.networks import networks_of


def world(networks: str, endpoints: Mapping[str, str], public_url: str, *, plain: bool) -> World:
    """`networks` are those that are called beside the public ones (CIDRs); `plain` lets http:// through."""
    allowed = networks_of(networks)
    return World(lambda: EgressTransport(allowed, plain=plain), endpoints, public_url.rstrip("/"))


def misspelt(endpoints: Collection[str]) -> str | None:
    """What is wrong with their names, in words: whoever is misspelt would be called at its real address."""
    known = {*registry.kinds(), SNS}
    wrong = [name for name in endpoints if name not in known]
    if not wrong:
        return None
    return f"there is no provider {' or '.join(wrong)}; take of {', '.join(sorted(known))}"
