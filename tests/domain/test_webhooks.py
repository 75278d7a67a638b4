"""Secrets of webhooks."""

import base64

from domain.webhooks import PREFIX, checked_secret, new_secret


def test_a_new_secret_is_text_for_receivers_that_hold_keys_as_text() -> None:
    made = new_secret()
    key = base64.b64decode(made.removeprefix(PREFIX))

    assert len(key) == 32
    assert key.decode("ascii").isprintable()
    assert checked_secret(made) == made
    assert new_secret() != made
