"""Who may do what: the one table. Routes name a permission; people have it by their role, keys by choice."""

from enum import StrEnum


class Role(StrEnum):
    """A person's place in one workspace."""

    OWNER = "owner"
    ADMIN = "admin"
    MARKETER = "marketer"
    VIEWER = "viewer"


class KeyKind(StrEnum):
    PUBLIC = "pk"  # In web pages and apps, where anybody can read it.
    SECRET = "sk"


class Permission(StrEnum):
    WORKSPACE_READ = "workspace:read"
    WORKSPACE_WRITE = "workspace:write"
    WORKSPACE_DELETE = "workspace:delete"
    OWNERSHIP_WRITE = "ownership:write"
    MEMBERS_READ = "members:read"
    MEMBERS_WRITE = "members:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    ISSUERS_READ = "issuers:read"
    ISSUERS_WRITE = "issuers:write"
    AUDIT_READ = "audit:read"
    PROVIDERS_READ = "providers:read"
    PROVIDERS_WRITE = "providers:write"
    PROFILES_READ = "profiles:read"
    PROFILES_WRITE = "profiles:write"
    PROFILES_ERASE = "profiles:erase"
    PROFILES_EXPORT = "profiles:export"
    LISTS_READ = "lists:read"
    LISTS_WRITE = "lists:write"
    ORDERS_READ = "orders:read"
    ORDERS_WRITE = "orders:write"
    IMPORTS_READ = "imports:read"
    IMPORTS_WRITE = "imports:write"
    SEGMENTS_READ = "segments:read"
    SEGMENTS_WRITE = "segments:write"
    TEMPLATES_READ = "templates:read"
    TEMPLATES_WRITE = "templates:write"
    CAMPAIGNS_READ = "campaigns:read"
    CAMPAIGNS_WRITE = "campaigns:write"
    CAMPAIGNS_SEND = "campaigns:send"
    FLOWS_READ = "flows:read"
    FLOWS_WRITE = "flows:write"
    FLOWS_RUN = "flows:run"
    MESSAGES_SEND = "messages:send"
    MESSAGES_READ = "messages:read"
    MESSAGES_CONTENT = "messages:content"  # What a message said.
    EVENTS_READ = "events:read"
    EVENTS_WRITE = "events:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    FAILURES_READ = "failures:read"
    FAILURES_WRITE = "failures:write"  # Note, acknowledge and retry.
    INTEGRATIONS_READ = "integrations:read"
    INTEGRATIONS_WRITE = "integrations:write"


P = Permission

_VIEWER = frozenset(
    {
        P.WORKSPACE_READ,
        P.PROFILES_READ,
        P.LISTS_READ,
        P.ORDERS_READ,
        P.EVENTS_READ,
        P.IMPORTS_READ,
        P.SEGMENTS_READ,
        P.TEMPLATES_READ,
        P.CAMPAIGNS_READ,
        P.FLOWS_READ,
        P.MESSAGES_READ,
        P.FAILURES_READ,
    }
)
_MARKETER = _VIEWER | {
    P.PROFILES_WRITE,
    P.PROFILES_EXPORT,
    P.LISTS_WRITE,
    P.ORDERS_WRITE,
    P.IMPORTS_WRITE,
    P.SEGMENTS_WRITE,
    P.TEMPLATES_WRITE,
    P.CAMPAIGNS_WRITE,
    P.CAMPAIGNS_SEND,
    P.FLOWS_WRITE,
    P.FLOWS_RUN,
    P.MESSAGES_SEND,
    P.MESSAGES_CONTENT,
    P.EVENTS_WRITE,
    P.PROVIDERS_READ,
    P.WEBHOOKS_READ,
    P.FAILURES_WRITE,
    P.INTEGRATIONS_READ,
}
_ADMIN = _MARKETER | {
    P.PROFILES_ERASE,
    P.WORKSPACE_WRITE,
    P.MEMBERS_READ,
    P.MEMBERS_WRITE,
    P.KEYS_READ,
    P.KEYS_WRITE,
    P.ISSUERS_READ,
    P.ISSUERS_WRITE,
    P.AUDIT_READ,
    P.PROVIDERS_WRITE,
    P.WEBHOOKS_WRITE,
    P.INTEGRATIONS_WRITE,
}
_OWNER = _ADMIN | {P.WORKSPACE_DELETE, P.OWNERSHIP_WRITE}

MAY: dict[Role, frozenset[Permission]] = {
    Role.OWNER: _OWNER,
    Role.ADMIN: _ADMIN,
    Role.MARKETER: _MARKETER,
    Role.VIEWER: _VIEWER,
}

# What a public key may do, whoever made it, since everybody can read it.
PUBLIC = frozenset({P.EVENTS_WRITE})
# What a secret key may be given. Nothing that decides who owns the workspace: a program does not.
GRANTABLE = _ADMIN


def may_give(giver: Role, role: Role) -> bool:
    """Whether a member may make somebody `role`, or change somebody who is: owners alone touch owners."""
    return giver is Role.OWNER or (giver is Role.ADMIN and role is not Role.OWNER)
