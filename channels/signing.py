"""Signatures of what we post to others: Standard Webhooks 1.0, by the specification's own library.

Whoever verifies needs the header `webhook-id`, which is the same at each try, `webhook-timestamp`, and one of
the signatures in `webhook-signature`: while a secret is being changed there are two.
"""

from datetime import UTC, datetime

from standardwebhooks import Webhook


class Signer:
    """Signs with one secret, or with several at a time."""

    def __init__(self, *secrets: str) -> None:
        """Each is `whsec_` and base64. Raises ValueError for one that is not."""
        self._signers = [Webhook(secret) for secret in secrets]

    def headers(self, name: str, body: bytes, at: datetime) -> dict[str, str]:
        """All headers of a post of `body`. `name` is its `webhook-id`.

        `at` is the wall's time: receivers refuse what was not signed in the last minutes.
        """
        now, said = at.astimezone(UTC), body.decode()
        return {
            "Content-Type": "application/json",
            "User-Agent": "Campanile",
            "webhook-id": name,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(each.sign(name, now, said) for each in self._signers),
        }
