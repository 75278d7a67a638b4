"""What the environment may change. Read where a process starts; from there on plain values are handed on.

A value comes from, first to last: the environment, `.env`, `.campanile/stack.env` (what the embedded stack
wrote about itself: ports it really got, generated passwords), the default. `.env.example` lists them all.
"""

import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.networks import name_servers_of, networks_of
from domain.secrets import Sealer
from domain.sending_domains import Ground
from domain.staging import Staging

ROOT = Path(__file__).resolve().parent
DEVELOPMENT_SECRET = "for-development-only"  # `Settings` refuses it elsewhere.
DEVELOPMENT_ENCRYPTION_KEY = "dev:Zm9yLWRldmVsb3BtZW50LW9ubHktZm9yLWRldmVsb3A="  # 32 bytes of the above.
SHORTEST_SECRET = 32  # Characters, outside development.
FEWEST_CHARACTERS = 8  # That differ.
STACK_ENV = "stack.env"
_DATABASES = ("database_url", "engine_database_url", "admin_database_url")  # Ours, by role.
# What SQLAlchemy's `make_url` reads. To load that takes 11 MB and 0.2 s, in every process that has settings.
_DATABASE = re.compile(
    r"postgresql\+psycopg://([^:/]*(:[^@]*)?@)?+(\[[^/?\]]+\]|[^:/?@\[\]]*)(:[0-9]+)?([/?].*)?"
)

Port = int


class Settings(BaseSettings):
    """Every setting of every process. An environment variable is a field's name in capitals."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True, frozen=True)

    environment: Literal["development", "production"] = Field(
        default="development", description="development or production, which refuses default secrets"
    )
    state_dir: Path = Field(
        default=Path(".campanile"),
        description="The embedded stack's state, in the repository; not read from .env",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="DEBUG, INFO, WARNING or ERROR"
    )

    database_url: str = Field(
        default=f"postgresql+psycopg://campanile_app:{DEVELOPMENT_SECRET}@127.0.0.1:5433/campanile",
        description="PostgreSQL 18 or newer as the application's role, which row-level security binds",
    )
    engine_database_url: str = Field(
        default=f"postgresql+psycopg://campanile_engine:{DEVELOPMENT_SECRET}@127.0.0.1:5433/campanile",
        description="The same database as the role that serves queues and what spans workspaces",
    )
    admin_database_url: str = Field(
        default=f"postgresql+psycopg://campanile_owner:{DEVELOPMENT_SECRET}@127.0.0.1:5433/campanile",
        description="The same database as the owner of the schema; only `campanile migrate` uses it",
    )
    server_database_url: str = Field(
        default="",
        description="The same server as its superuser; only `campanile provision` uses it, to make the roles",
    )
    neighbour_database_urls: str = Field(
        default="",
        description="Databases of others, which `campanile provision` makes there too: addresses and commas",
    )
    database_pool_size: PositiveInt = Field(default=10, description="Connections a process, role and pool")

    temporal_address: str = Field(default="127.0.0.1:7233", description="host:port of Temporal's frontend")
    temporal_namespace: str = Field(default="default", description="Where our workflows live in Temporal")
    temporal_ui_url: str = Field(default="http://127.0.0.1:8233", description="Where people watch workflows")

    host: str = Field(default="127.0.0.1", description="The address that API and tracking listen on")
    port: Port = Field(default=8000, ge=0, le=65535, description="The API's port")
    tracking_port: Port = Field(
        default=8001, ge=0, le=65535, description="The port of `campanile tracking`, its own process"
    )
    n8n_port: Port = Field(default=5678, ge=0, le=65535, description="The port of n8n under `make n8n`")
    api_workers: PositiveInt = Field(default=1, description="Processes that serve the API")
    public_url: str = Field(
        default="http://127.0.0.1:8000", description="What links and pixels in messages begin with"
    )
    api_url: str = Field(
        default="http://127.0.0.1:8000", description="Where `campanile import` and the demo find the API"
    )
    api_key: str = Field(
        default="",
        description="The secret key of `campanile import` and the demo; the embedded stack makes its own",
    )
    api_public_key: str = Field(
        default="", description="The public key of the demo's site; the embedded stack makes its own"
    )
    signing_key: str = Field(
        default=DEVELOPMENT_SECRET,
        description="Signs tracking links and access tokens; 32 characters or more",
    )
    encryption_keys: str = Field(
        default=DEVELOPMENT_ENCRYPTION_KEY,
        description="Seal secrets at rest: id:base64 of 32 bytes, the present key first, then older ones",
    )
    registration: Literal["open", "invited"] = Field(
        default="open", description="Who may register: open to everybody, or invited people only"
    )
    accounts_email: str = Field(
        default="accounts@campanile.example", description="From whom the mails about accounts are"
    )
    google_client_id: str = Field(
        default="", description="Our client at Google, for sign-in with Google; empty: there is none"
    )
    google_client_secret: str = Field(default="", description="The secret of that client")
    google_issuer: str = Field(
        default="https://accounts.google.com", description="Google's address as an OpenID Connect issuer"
    )
    egress_networks: str = Field(
        default="",
        description="Networks that are called, beside the public ones, where people give an address: CIDRs",
    )
    requests_a_minute: PositiveInt = Field(
        default=6000, description="Requests that one key or session may make"
    )
    events_a_minute: PositiveInt = Field(
        default=1_200_000, description="Events that one key may send to the tracking API"
    )

    smtp_url: str = Field(
        default="smtp://127.0.0.1:1025",
        description="smtp, smtp+starttls or smtps://[user:password@]host:port",
    )
    provider_endpoints: str = Field(
        default="",
        description="Where providers are, if not at their own addresses: ses=http://host:port/path,sendgrid=…",
    )
    spf_mechanism: str = Field(
        default="",
        description="What SPF policies say for SMTP_URL, as include:spf.mail.example; empty: a:<its host>",
    )
    bounce_host: str = Field(
        default="", description="The mail server that takes bounces in; empty: they go to the sender"
    )
    dns_servers: str = Field(
        default="", description="Whom to ask what domains publish, as 9.9.9.9:53; empty: the system's servers"
    )
    campanile_deliver_only_to: str = Field(
        default="",
        description="If not empty, nobody else is written to: addresses, @domains, numbers, hosts",
    )
    bounce_maildir: str = Field(
        default="",
        description="A Maildir folder to which mail servers return notices of failures; empty: there is none",
    )
    mailbox_url: str = Field(
        default="http://127.0.0.1:8025", description="The development mailbox that `/mailbox` leads to"
    )

    lease_seconds: PositiveFloat = Field(default=60, description="How long a claimed message is its worker's")
    slice_seconds: PositiveFloat = Field(
        default=15,
        description="How long one activity works on a group; four times as long where people come singly",
    )
    linger_seconds: float = Field(default=5, ge=0, description="How long a slice with nothing due waits")
    reconcile_after_seconds: PositiveFloat = Field(
        default=900, description="How old an unknown message is when its workspace's policy decides"
    )
    messages_a_second: float = Field(
        default=0, ge=0, description="How many messages one workspace may send in all; 0: no limit"
    )
    worker_slots: PositiveInt = Field(
        default=500, description="Activities at a time in one worker process; most of them only listen"
    )
    send_slices: PositiveInt = Field(default=2, description="Slices at a time that send for one campaign")

    segment_seconds: PositiveFloat = Field(
        default=60, description="How long it may take to find a segment's members among everybody"
    )

    events_kept_days: PositiveInt = Field(
        default=400, description="How long events are kept; they are dropped by the month"
    )

    content_kept_days: PositiveInt = Field(
        default=30,
        description="How long what a message said, its files, and what webhooks were told are kept",
    )

    @property
    def state(self) -> Path:
        """The state folder as an absolute path."""
        return ROOT / self.state_dir

    @model_validator(mode="after")
    def addresses_can_be_read(self) -> Self:
        """The addresses hold passwords, so that they are not in the words."""
        named = [(name, getattr(self, name)) for name in _DATABASES]
        named += [("server_database_url", url) for url in (self.server_database_url,) if url]
        named += [("neighbour_database_urls", url) for url in self.neighbours]
        for name, url in named:
            if not _is_postgres(url):
                like = "postgresql+psycopg://user:password@host:port/database (an @ in the password as %40)"
                raise ValueError(f"{name.upper()} is no address of a database: write it like {like}")
        if not _is_mail_server(self.smtp_url):
            like = "smtp://host:port, smtp+starttls://… or smtps://user:password@host:port"
            raise ValueError(f"SMTP_URL is no address of a mail server: write it like {like}")
        return self

    @property
    def neighbours(self) -> list[str]:
        """Addresses of databases that others use on the same server."""
        return [url.strip() for url in self.neighbour_database_urls.split(",") if url.strip()]

    @property
    def ground(self) -> Ground:
        """What is the same for all domains that send by this installation."""
        host = urlsplit(self.smtp_url).hostname or ""
        try:
            own = f"ip{ip_address(host).version}:{host}"
        except ValueError:
            own = f"a:{host}"
        tracking = urlsplit(self.public_url).hostname or ""
        return Ground(self.spf_mechanism or own, self.bounce_host.rstrip("."), tracking)

    @property
    def endpoints(self) -> dict[str, str]:
        """Where the operator says that a kind of provider is, by its name."""
        pairs = (part.partition("=") for part in self.provider_endpoints.split(",") if part.strip())
        return {name.strip(): url.strip().rstrip("/") for name, _, url in pairs}

    @model_validator(mode="after")
    def endpoints_can_be_read(self) -> Self:
        if not all(urlsplit(url).scheme in ("http", "https") for url in self.endpoints.values()):
            raise ValueError(
                "PROVIDER_ENDPOINTS can't be used: write it like ses=http://127.0.0.1:9100/ses,twilio=…"
            )
        return self

    @model_validator(mode="after")
    def secrets_can_be_sealed(self) -> Self:
        try:
            Sealer.of(self.encryption_keys)
        except ValueError as error:
            raise ValueError(f"ENCRYPTION_KEYS can't be used: {error}") from None
        return self

    @model_validator(mode="after")
    def name_servers_can_be_read(self) -> Self:
        try:
            name_servers_of(self.dns_servers)
        except ValueError as error:
            raise ValueError(
                f"DNS_SERVERS can't be used: {error}; write it like 9.9.9.9, [2620:fe::fe]:53"
            ) from None
        return self

    @model_validator(mode="after")
    def who_is_written_to_can_be_read(self) -> Self:
        try:
            Staging.of(self.campanile_deliver_only_to)
        except ValueError as error:
            raise ValueError(f"CAMPANILE_DELIVER_ONLY_TO can't be used: {error}") from None
        return self

    @model_validator(mode="after")
    def networks_can_be_read(self) -> Self:
        try:
            networks_of(self.egress_networks)
        except ValueError as error:
            raise ValueError(
                f"EGRESS_NETWORKS can't be used: {error}; write it like 10.1.0.0/16, fd00::/8"
            ) from None
        return self

    @model_validator(mode="after")
    def no_weak_secret_in_production(self) -> Self:
        if self.environment != "development":
            secrets = {name: getattr(self, name) for name in ("signing_key", *_DATABASES, "encryption_keys")}
            default = [name.upper() for name, value in secrets.items() if _is_default(value)]
            if default:
                raise ValueError(f"set {', '.join(default)}: the defaults are for development only")
            if len(self.signing_key) < SHORTEST_SECRET or _is_uniform(self.signing_key):
                raise ValueError(
                    f"SIGNING_KEY is weak: give it {SHORTEST_SECRET} random characters, such as those of "
                    "`openssl rand -base64 32`"
                )
            keys = [part.partition(":")[2] for part in self.encryption_keys.split(",") if part.strip()]
            if any(map(_is_uniform, keys)):
                raise ValueError("ENCRYPTION_KEYS is weak: give it keys of `openssl rand -base64 32`")
        return self


def _is_uniform(secret: str) -> bool:
    """Whether it repeats the same few characters, as nothing random does."""
    return len(set(secret)) < FEWEST_CHARACTERS


def _is_default(value: str) -> bool:
    return DEVELOPMENT_SECRET in value or DEVELOPMENT_ENCRYPTION_KEY.partition(":")[2] in value


def _is_postgres(url: str) -> bool:
    return _DATABASE.fullmatch(url) is not None


def _is_mail_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # Read here, since a port that is none raises.
    except ValueError:
        return False
    return parts.scheme in ("smtp", "smtp+starttls", "smtps") and bool(parts.hostname)


class SettingsError(Exception):
    """The environment holds something that no process can start with; the message says what to change."""


def read_settings() -> Settings:
    """The settings of this process.

    Raises `SettingsError` with one sentence that names the variables at fault.
    """
    state = ROOT / os.environ.get("STATE_DIR", ".campanile")
    try:
        return Settings(_env_file=(state / STACK_ENV, ROOT / ".env"))  # The later file wins.
    except ValidationError as error:
        raise SettingsError("; ".join(in_words(problem) for problem in error.errors())) from None


def in_words(problem: object) -> str:
    match problem:
        case {"loc": (str(field), *_), "input": given, "msg": str(message)}:
            return f"{field.upper()} is {given!r}: {message}"
        case {"msg": str(message)}:
            return message.removeprefix("Value error, ")
    return str(problem)
