"""Incoming webhooks: what providers report, at an address for each account. docs/reports.md.

    POST /hooks/<account>    a report, signed by the provider
    GET /hooks/<account>     the provider asks whether we are there

Raw ASGI, since Twilio calls once for each message. A webhook that the account's own credentials prove to be
genuine is durable when it is answered, and nothing more: what it says is read by the worker.
"""

from activities.accounts import Accounts
from api.hooks.app import Hooks
from channels.contract import World
from channels.egress import EgressTransport
from domain.clock import SystemClock
from domain.networks import networks_of
from domain.secrets import Sealer
from models.base import Sessions
from settings import Settings

POOL = 3  # Connections a role.


def build(settings: Settings) -> Hooks:
    """The application alone, to be mounted. It opens connections when the first webhook comes."""

    def egress() -> EgressTransport:
        return EgressTransport(
            networks_of(settings.egress_networks), plain=settings.environment == "development"
        )

    accounts = Accounts(
        Sealer.of(settings.encryption_keys), World(egress, settings.endpoints, settings.public_url)
    )
    return Hooks(
        Sessions(settings.database_url, settings.engine_database_url, POOL),
        accounts,
        settings.public_url,
        SystemClock(),
    )


__all__ = ["Hooks", "build"]
