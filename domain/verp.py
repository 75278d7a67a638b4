"""The return path of a mail: an address that says which message a notice of its failure is about (VERP).

`bounces+<token>@domain`. The token is base32, because mail servers may change the case of what stands before
the @, of the message's id and a signature: nobody can bounce what they did not get. It takes 53 of the 64
characters that RFC 5321, section 4.5.3.1.1, allows there.
"""

import base64
import binascii
import re
from uuid import UUID

from domain.tokens import About, Tokens

BEFORE = "bounces+"
_TOKEN = re.compile(r"bounces\+([a-z2-7]{45})@", re.IGNORECASE)
_BASE64_LENGTH = 38  # Characters of 28 bytes, an id and its signature, without padding.


def address(domain: str, message_id: UUID, tokens: Tokens) -> str:
    """Where notices about this message go, in a domain whose mail we read."""
    signed = base64.urlsafe_b64decode(tokens.sign_all((message_id,), About.BOUNCE) + "==")
    return f"{BEFORE}{base64.b32encode(signed).decode().rstrip('=').lower()}@{domain}"


def read(text: str, tokens: Tokens) -> UUID | None:
    """The message whose return path is named first in `text`; None when we signed none that is."""
    for found in _TOKEN.finditer(text):
        try:
            signed = base64.b32decode(found[1].upper() + "===")
        except binascii.Error:
            continue
        token = base64.urlsafe_b64encode(signed).decode().rstrip("=")
        if len(token) == _BASE64_LENGTH and (ids := tokens.read_all(token, 1, About.BOUNCE)):
            return ids[0]
    return None
