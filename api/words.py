"""What a message says, on whatever channel: checked when it is asked for, filled, and shown again."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from pydantic import Field, TypeAdapter, ValidationError

from api.errors import in_words
from api.routes.templates import Html, Subject
from api.shapes import In
from domain import templates
from domain.channels import Channel
from domain.errors import Invalid
from models.queries.templates import content_of
from models.templates import TemplateVersion
from models.workspaces import Workspace

COMPILED = 100  # Kept in memory.


class EmailBody(In):
    """A mail in words of its own: Liquid, as a template's."""

    subject: Subject
    html: Html
    text: str | None = Field(None, description="The plain part; made from the HTML when it is null.")
    preheader: str | None = Field(None, max_length=500)


class Words(Protocol):
    """What one message after the other is filled from."""

    def render(self, variables: Mapping[str, Any]) -> tuple[str, ...]:
        """The values of the holes. Raises `TemplateError`."""
        ...

    def shown(self, holes: tuple[str, ...], token: str, *, tracked: bool) -> dict[str, Any]:
        """The message again, as its channel has it."""
        ...


@dataclass(frozen=True)
class _Mail:
    compiled: templates.Compiled

    def render(self, variables: Mapping[str, Any]) -> tuple[str, ...]:
        return templates.render(self.compiled, variables)

    def shown(self, holes: tuple[str, ...], token: str, *, tracked: bool) -> dict[str, Any]:
        subject, html, text = templates.show(self.compiled, holes, token, tracked=tracked)
        return {"subject": subject, "html": html, "text": text}


def read(channel: Channel, body: Mapping[str, Any]) -> dict[str, Any]:
    """What a body says, in the one form in which it is kept. Raises `Invalid` with pointers into it."""
    if channel is not Channel.EMAIL:
        raise Invalid(f"Words of their own can't be sent by {channel} yet: take a template.")
    try:
        return _EMAIL.validate_python(body).model_dump()
    except ValidationError as error:
        first, *others = (Invalid(each.detail, each.pointer) for each in in_words(error, body))
        first.also = [*others]
        raise first from error


_EMAIL = TypeAdapter(EmailBody)


def of_body(channel: Channel, content: Mapping[str, Any], workspace: Workspace, public_url: str) -> Words:
    """What `read` gave, compiled as the workspace's messages are. Raises `Invalid` naming part and line."""
    return _mail(templates.Template(**content), workspace.name, workspace.postal_address or "", public_url)


def of_version(channel: Channel, version: TemplateVersion, workspace: Workspace, public_url: str) -> Words:
    """The same of a template's version."""
    return _mail(content_of(version), workspace.name, workspace.postal_address or "", public_url)


@lru_cache(maxsize=COMPILED)
def _mail(content: templates.Template, name: str, postal_address: str, public_url: str) -> Words:
    return _Mail(
        templates.compile(content, workspace_name=name, postal_address=postal_address, public_url=public_url)
    )
