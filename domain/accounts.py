"""Accounts: what is mailed to prove an address, and how long it is good."""

from datetime import timedelta
from enum import StrEnum


class Purpose(StrEnum):
    """What a mailed token is good for."""

    VERIFY_EMAIL = "verify email"
    CHANGE_EMAIL = "change email"
    RESET_PASSWORD = "reset password"


LIFETIME = {
    Purpose.VERIFY_EMAIL: timedelta(days=2),
    Purpose.CHANGE_EMAIL: timedelta(hours=2),
    Purpose.RESET_PASSWORD: timedelta(hours=1),
}
INVITATION_LIFETIME = timedelta(days=7)
SESSION_LIFETIME = timedelta(days=30)  # Since its refresh token was used last.
RECOVERY_CODES = 10
