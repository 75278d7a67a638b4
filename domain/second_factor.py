"""The second factor: time-based one-time passwords (RFC 6238), and codes for who lost theirs."""

import hmac
import secrets
from datetime import datetime

import pyotp

_STEP = 30  # Seconds.
_EARLIER_OR_LATER = (0, -1, 1)  # Steps that a clock may be wrong by.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # Nothing that is taken for something else.


def new_secret() -> str:
    """160 bits in base32, as authenticator apps take them."""
    return pyotp.random_base32()


def uri(secret: str, email: str) -> str:
    """The address that an app reads from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name="Campanile")


def matching_step(secret: str, code: str, now: datetime) -> int | None:
    """The time step that this code belongs to, or None when it is not one of now."""
    code = code.replace(" ", "")
    totp = pyotp.TOTP(secret, interval=_STEP)
    present = int(now.timestamp()) // _STEP
    for step in (present + offset for offset in _EARLIER_OR_LATER):
        if hmac.compare_digest(totp.generate_otp(step).encode(), code.encode()):
            return step
    return None


def plain(code: str) -> str:
    """A recovery code as it is compared: however it was typed, with or without its dash."""
    return "".join(character for character in code.lower() if character.isalnum())


def recovery_codes(n: int) -> list[str]:
    """`n` codes of 50 bits, such as `k3m9x-qt27w`."""

    def half() -> str:
        return "".join(secrets.choice(_ALPHABET) for _ in range(5))

    return [f"{half()}-{half()}" for _ in range(n)]
