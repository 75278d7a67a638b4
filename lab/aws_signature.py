"""Checks the signature of a request to AWS, as "Signature Version 4" describes it."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote

ALGORITHM = "AWS4-HMAC-SHA256"


class Unsigned(Exception):
    """The request is not signed as it should be; with the exception's name at AWS and its words."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True, slots=True)
class Signed:
    """What the Authorization header says."""

    key_id: str
    day: str
    region: str
    service: str
    headers: list[str]
    signature: str


def parts(authorization: str) -> Signed:
    if not authorization:
        raise Unsigned("MissingAuthenticationTokenException", "Missing Authentication Token")
    algorithm, _, rest = authorization.partition(" ")
    fields = dict(pair.strip().partition("=")[::2] for pair in rest.split(","))
    try:
        key_id, day, region, service, _ = fields["Credential"].split("/")
        headers, signature = fields["SignedHeaders"].split(";"), fields["Signature"]
    except (KeyError, ValueError):
        headers = []
    if algorithm != ALGORITHM or not headers:
        raise Unsigned("IncompleteSignatureException", "Authorization header requires a complete signature.")
    return Signed(key_id, day, region, service, headers, signature)


def check(
    method: str,
    raw_path: str,
    query: str,
    headers: Mapping[str, str],
    body: bytes,
    secrets: Mapping[str, str],
) -> None:
    """Raises `Unsigned`, unless one of these keys signed it. Names of headers are in lower case."""
    signed = parts(headers.get("authorization", ""))
    secret = secrets.get(signed.key_id)
    if secret is None:
        message = "The security token included in the request is invalid."
        raise Unsigned("UnrecognizedClientException", message)
    pairs = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in parse_qsl(query, True))
    canonical = "\n".join(
        [
            method,
            quote(raw_path, safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in pairs),
            *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in signed.headers),
            "",
            ";".join(signed.headers),
            hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{signed.day}/{signed.region}/{signed.service}/aws4_request"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"{ALGORITHM}\n{headers.get('x-amz-date', '')}\n{scope}\n{hashed}"
    key = b"AWS4" + secret.encode()
    for part in (signed.day, signed.region, signed.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    if not hmac.compare_digest(hmac.digest(key, to_sign.encode(), "sha256").hex(), signed.signature):
        raise Unsigned(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. Check your AWS "
            "Secret Access Key and signing method. Consult the service documentation for details.",
        )
