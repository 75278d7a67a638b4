"""What the lab signs its webhooks with, made when it is first needed."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID


class Keys:
    """A set of keys. Another set is what a forger has."""

    app_secret = "lab-app-secret"  # WhatsApp.
    verify_token = "lab-verify"  # WhatsApp.

    @cached_property
    def sendgrid(self) -> ec.EllipticCurvePrivateKey:
        return ec.generate_private_key(ec.SECP256R1())

    @property
    def sendgrid_public(self) -> str:
        """As SendGrid shows it: base64 of the DER."""
        public = self.sendgrid.public_key()
        return b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()

    @cached_property
    def sns(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(65537, 2048)

    @cached_property
    def sns_certificate(self) -> bytes:
        """Self-signed, as PEM."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.sns.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=365))
            .sign(self.sns, SHA256())
        )
        return made.public_bytes(Encoding.PEM)
