"""A staging system writes to nobody but those whom its operator names (`CAMPANILE_DELIVER_ONLY_TO`)."""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

from domain.addresses import normal_address
from domain.channels import Channel
from domain.phones import normal_phone

_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*(:[0-9]{1,5})?")


@dataclass(frozen=True)
class Staging:
    """Whom this installation may write to. With nobody named it may write to everybody."""

    setting: str = ""

    @classmethod
    def of(cls, setting: str) -> "Staging":
        """From a comma list of addresses, @domains, phone numbers and hosts of webhooks and push services.

        Raises ValueError for what is none of these, so that a typing error lets nobody through.
        """
        staging = cls(setting)
        _ = staging._named
        return staging

    @property
    def on(self) -> bool:
        return bool(self._named)

    def may(self, channel: Channel | str, address: str) -> bool:
        """Whether `address`, as the ledger has it, may be written to on this channel."""
        if not self._named:
            return True
        try:
            match Channel(channel):
                case Channel.EMAIL:
                    email = normal_address(address)
                    return email in self._named or f"@{email.rpartition('@')[2]}" in self._named
                case Channel.SMS | Channel.WHATSAPP:
                    return normal_phone(address) in self._named
                case Channel.WEBHOOK:
                    return self._may_call(address)
                case Channel.PUSH:
                    return self._may_call(str(json.loads(address)["endpoint"]))
        except (ValueError, KeyError, TypeError):
            return False  # What can't be read is certainly not named.

    def _may_call(self, url: str) -> bool:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        return host in self._named or (port is not None and f"{host}:{port}" in self._named)

    @cached_property
    def _named(self) -> frozenset[str]:
        return frozenset(_normal(part.strip()) for part in self.setting.split(",") if part.strip())


def _normal(part: str) -> str:
    """One part of the setting, as addresses are compared. Raises ValueError."""
    try:
        if part.startswith("@"):
            return normal_address(f"anybody{part}").removeprefix("anybody")
        if "@" in part:
            return normal_address(part)
        if part.startswith("+"):
            return normal_phone(part)
    except ValueError as error:
        raise ValueError(f"{part} can't be used: {error}") from error
    if _HOST.fullmatch(part.lower()):
        return part.lower()
    raise ValueError(f"{part} is no address, @domain, phone number (+49 …) or host")
