"""Every kind of provider that an account can be with."""

from collections.abc import Mapping

from channels import mixmax, push, sendgrid, ses, simulated, smtp_account, twilio, webhook, whatsapp
from channels.contract import Kind

_KINDS: dict[str, Kind] = {}


def register(kind: Kind) -> None:
    """Make a kind known. Its name is taken once."""
    if _KINDS.setdefault(kind.name, kind) is not kind:
        raise ValueError(f"There is a kind of provider named {kind.name} already.")


def reporting() -> list[str]:
    """The kinds that report later what became of a message."""
    return [kind.name for kind in _KINDS.values() if kind.capabilities.webhooks]


def kinds() -> Mapping[str, Kind]:
    """All kinds by their names."""
    return dict(_KINDS)


register(ses.KIND)
register(sendgrid.KIND)
register(mixmax.KIND)
register(smtp_account.KIND)
register(twilio.KIND)
register(whatsapp.KIND)
register(push.KIND)
register(webhook.KIND)
for _kind in simulated.KINDS:
    register(_kind)
