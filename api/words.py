"""What a single message says, on whatever channel: read, compiled, filled, and shown again."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import Field, ValidationError

from api.errors import at_fault
from api.routes.templates import Html, Subject
from api.shapes import In
from domain import short_templates, templates
from domain.channels import Channel
from domain.errors import Invalid
from domain.holes import Lacking, TemplateError
from domain.short_templates import ShortTemplate, address_variable
from models.queries.templates import Said
from models.workspaces import Workspace

COMPILED = 100  # Mails in memory.
Compiled = templates.Compiled | short_templates.Compiled


class EmailBody(In):
    """A mail in words of its own: Liquid, as a template's."""

    subject: Subject
    html: Html
    text: str | None = Field(None, description="The plain part; made from the HTML when it is null.")
    preheader: str | None = Field(None, max_length=500)


def read(channel: Channel, body: Mapping[str, Any]) -> Said:
    """What a body says. Raises `Invalid` with pointers into it."""
    if channel is Channel.EMAIL:
        try:
            return templates.Template(**EmailBody.model_validate(body).model_dump())
        except ValidationError as error:
            first, *others = (Invalid(each.detail, each.pointer) for each in at_fault(error, body))
            first.also = [*others]
            raise first from error
    try:
        return short_templates.checked(channel, body)
    except Invalid as error:
        raise _inside(error) from error


def compiled(said: Said, workspace: Workspace, public_url: str, *, way_out: bool = True) -> Compiled:
    """The same, compiled as the workspace's messages are: those that somebody asked for without a `way_out`.

    Raises `Invalid` naming part and line.
    """
    if isinstance(said, ShortTemplate):
        try:
            return short_templates.compile(said, workspace_name=workspace.name, public_url=public_url)
        except Invalid as error:
            raise _inside(error) from error
    return _mail(said, workspace.name, workspace.postal_address or "", public_url, way_out)


@lru_cache(maxsize=COMPILED)
def _mail(
    said: templates.Template, name: str, postal_address: str, public_url: str, way_out: bool
) -> Compiled:
    return templates.compile(
        said, workspace_name=name, postal_address=postal_address, public_url=public_url, way_out=way_out
    )


def _inside(error: Invalid) -> Invalid:
    """The same about a body, which is the content itself."""
    for each in (error, *error.also):
        each.field = (each.field or "").removeprefix("/content")
    return error


def filled(made: Compiled, channel: Channel, variables: Mapping[str, Any], address: str) -> tuple[str, ...]:
    """The values of the holes for one person. Raises `Invalid` about the data."""
    name = address_variable(channel)
    try:
        return made.taken.render({**variables, **({name: address} if name else {})})
    except Lacking as error:
        raise Invalid(
            f"The message prints {{{{ {error.name} }}}}, which neither data nor a profile has: send it in "
            f"data, or give it a default: {{{{ {error.name} | default: 'there' }}}}.",
            "/data",
        ) from error
    except TemplateError as error:
        raise Invalid(error.message, "/data") from error


def shown(made: Compiled, holes: tuple[str, ...], token: str, *, tracked: bool) -> dict[str, Any]:
    """A message again, as its channel has it."""
    if isinstance(made, short_templates.Compiled):
        return short_templates.show(made, holes, token)
    subject, html, text = templates.show(made, holes, token, tracked=tracked)
    return {"subject": subject, "html": html, "text": text}
