"""A mail's template: compiled once per version to skeletons with holes, and shown again from their values.

A template is Liquid. Its variables are the profile's attributes and `email`, and the same for all
`workspace.name`, `workspace.postal_address` and `unsubscribe_url`. `compile` does once what need not be
done for each message; `render` gives the values of the holes for one profile; `show` puts both together
with the message's token (see `domain/tokens.py`). The compiled form depends on nothing but `compile`'s
arguments, so whoever keeps the values of the holes can show any mail as it was.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domain import dressing, links
from domain.errors import Invalid
from domain.holes import (
    GUARD,
    OPEN,
    TOKEN,
    Hole,
    Taken,
    TemplateError,
    parse,
    required,
)
from domain.skeletons import Skeleton, as_is, escaped, filled, skeleton, unescaped

__all__ = [
    "Compiled",
    "Template",
    "TemplateError",
    "compile",
    "link_target",
    "render",
    "show",
    "variables_required",
]

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class Template:
    """What the marketer wrote, in Liquid."""

    subject: str
    html: str
    text: str | None = None  # None: derived from the HTML.
    preheader: str | None = None  # Plain text: a hidden first line, shown beside the subject in the inbox.


@dataclass(frozen=True, slots=True)
class Compiled:
    """A template for one workspace and one public URL, ready for any number of messages."""

    holes: tuple[Hole, ...]
    subject: Skeleton
    html: Skeleton  # For those who may not be followed: direct links, no pixel.
    tracked_html: Skeleton
    text: Skeleton  # With direct links, for everyone.
    links: tuple[Skeleton, ...]  # Targets of the followed links outside blocks, in order, from 0.
    public_url: str  # Without a slash at its end.
    telling: tuple[int, ...]  # Holes within whose values the token may have to be put.
    linking: tuple[int, ...]  # Holes whose values may bring links; those count on where `links` ends.
    taken: Taken = field(compare=False, repr=False)


def compile(  # noqa: A001 - read as `templates.compile`, like `re.compile`
    template: Template, *, workspace_name: str, postal_address: str, public_url: str, way_out: bool = True
) -> Compiled:
    """Compile a template. `public_url` is where tracking answers, such as https://mail.shop.example.

    Without a `way_out` it gets no unsubscribe link: mail about an account, which nobody can be rid of.

    Raises Invalid with the pointer of the part at fault (/subject, /html, /text, /preheader) and the line;
    what is wrong in other parts is in its `also`.
    """
    public_url = public_url.rstrip("/")
    constants = {
        "workspace": {"name": workspace_name, "postal_address": postal_address},
        "unsubscribe_url": f"{public_url}/u/{TOKEN}",
    }
    _check(template)

    taken = Taken(constants)
    subject = taken.apart(_CONTROL.sub(" ", template.subject), "/subject", markup=False)
    if not subject.strip():
        raise Invalid("A mail needs a subject.", "/subject")

    source = dressing.inlined(template.html)
    unsubscribe, address = _missing(source, "/html", constants, markup=True)
    source = dressing.with_footer(source, unsubscribe=unsubscribe and way_out, address=address)
    if template.preheader:
        source = dressing.with_preheader(source, template.preheader)
    said = taken.apart(source, "/html", markup=True)
    told = f"/u/{TOKEN}" in dressing.shown(said) or any(hole.tells_token for hole in taken.holes)
    if way_out and not told:
        raise Invalid("Close what is open at the end (a comment, a <style>): it hides the way out.", "/html")

    text = template.text if template.text is not None else dressing.as_text(template.html)
    pointer = "/text" if template.text is not None else "/html"
    unsubscribe, address = _missing(text, pointer, constants, markup=False)
    unsubscribe = unsubscribe and way_out
    if unsubscribe or address:
        text = text.rstrip() + "\n\n"
        text += "{{ workspace.postal_address }}\n" if address else ""
        text += "Unsubscribe: {{ unsubscribe_url }}\n" if unsubscribe else ""
    plain = taken.apart(text, pointer, markup=False)

    holes = tuple(taken.holes)

    def in_html(hole: int, guarded: bool) -> Callable[[str], str]:
        if guarded:
            return links.harmless_markup if holes[hole].markup else links.harmless_text
        return as_is if holes[hole].markup else escaped

    def in_url(hole: int, _: bool) -> Callable[[str], str]:
        return unescaped if holes[hole].markup else as_is

    def in_text(_: int, __: bool) -> Callable[[str], str]:
        return as_is

    targets = [url for _, _, url in links.anchors(said)]
    pixel = f'<img src="{public_url}/o/{TOKEN}" width="1" height="1" alt="" style="display:block;border:0">'
    tracked = links.numbered(said, 0, f"{public_url}/c/{TOKEN}/")[0]
    return Compiled(
        holes=holes,
        subject=skeleton(subject, in_text),
        html=skeleton(_guarded(said), in_html),
        tracked_html=skeleton(dressing.before_end(tracked, pixel), in_html),
        text=skeleton(plain, in_text),
        links=tuple(skeleton(url, in_url) for url in targets),
        public_url=public_url,
        telling=tuple(i for i, hole in enumerate(holes) if hole.tells_token),
        linking=tuple(i for i, hole in enumerate(holes) if hole.may_link),
        taken=taken,
    )


def _check(template: Template) -> None:
    """Raise `Invalid` for all parts at fault, read as they were written: a fault's line is the marketer's."""
    given = {
        "/subject": template.subject,
        "/preheader": template.preheader,
        "/html": template.html,
        "/text": template.text,
    }
    faults: list[Invalid] = []
    for pointer, source in given.items():
        try:
            if source is not None:
                parse(source, pointer, markup=pointer in ("/html", "/preheader"))
        except Invalid as fault:
            faults.append(fault)
    if not template.html.strip():
        faults.append(Invalid("A mail needs something to say: the HTML is empty.", "/html"))
    if faults:
        faults[0].also.extend(faults[1:])
        raise faults[0]


def _missing(source: str, pointer: str, constants: Mapping[str, Any], *, markup: bool) -> tuple[bool, bool]:
    """Whether the way out and the postal address have to be added, because no reader is sure to see them."""
    said = Taken(constants).apart(source, pointer, markup=markup)
    seen = dressing.in_one_line(dressing.shown(said) if markup else said)
    postal = dressing.in_one_line(constants["workspace"]["postal_address"])
    return f"/u/{TOKEN}" not in seen, bool(postal) and postal not in seen


def _guarded(said: str) -> str:
    """`said` with a guard at every hole that begins a link: its value may not bring javascript: along."""
    guarded, end = [], 0
    for begins, ends, url in links.anchors(said):
        if url.startswith(OPEN):
            guarded += [said[end:begins], said[begins:ends].replace(OPEN, OPEN + GUARD, 1)]
            end = ends
    return "".join(guarded) + said[end:]


def render(compiled: Compiled, variables: Mapping[str, Any]) -> tuple[str, ...]:
    """The values of the holes for one profile: what the ledger keeps of a mail.

    `variables` are the profile's attributes and `email`. Raises TemplateError, whose message names the
    variable that is missing and the way out: this one message is skipped with it as the reason.
    """
    return compiled.taken.render(variables)


def written(compiled: Compiled, holes: Sequence[str], token: str, tracked: bool) -> Sequence[str]:
    """The values of the holes as one message has them: token in place and, when tracked, links followed.

    For the HTML; the other parts take them untracked. Most templates need nothing done here.
    """
    if not compiled.telling and not (tracked and compiled.linking):
        return holes
    values = list(holes)
    if tracked:
        number = len(compiled.links)
        for hole in compiled.linking:
            if "<a" in values[hole] or "<A" in values[hole]:
                values[hole], number = links.numbered(
                    values[hole], number, f"{compiled.public_url}/c/{TOKEN}/"
                )
    for hole in range(len(values)) if tracked else compiled.telling:
        if TOKEN in values[hole] and (compiled.holes[hole].markup or compiled.holes[hole].tells_token):
            values[hole] = values[hole].replace(TOKEN, token)
    return values


def subject_line(said: str) -> str:
    """A subject on one line: whatever would end a header's line is a space."""
    return said.strip() if said.isprintable() else _CONTROL.sub(" ", said).strip()


def show(
    compiled: Compiled, holes: Sequence[str], token: str, *, tracked: bool = True
) -> tuple[str, str, str]:
    """Subject, HTML and text of one mail, from the values that `render` gave and the message's token."""
    plain = written(compiled, holes, token, tracked=False)
    html = written(compiled, holes, token, tracked)
    return (
        subject_line(filled(compiled.subject, plain, token)),
        filled(compiled.tracked_html if tracked else compiled.html, html, token),
        filled(compiled.text, plain, token),
    )


def link_target(compiled: Compiled, number: int, holes: Sequence[str]) -> str | None:
    """Where the click on a message's link `number` (from 0) goes, from the values stored with the message.

    None when the message had no such link, or its address is not plain http or https.
    """
    if number < 0:
        return None
    if number < len(compiled.links):
        return links.destination(filled(compiled.links[number], holes, ""))
    number -= len(compiled.links)
    for hole in compiled.linking:
        for _, _, url in links.anchors(holes[hole]):
            if number == 0:
                return links.destination(url)
            number -= 1
    return None


def variables_required(template: Template) -> set[str]:
    """The attributes that each message prints and gives no default: a profile without one is skipped."""
    known = {"workspace", "unsubscribe_url", "email"}
    parts = {
        "/subject": template.subject,
        "/html": template.html,
        "/text": template.text,
        "/preheader": template.preheader,
    }
    return {name for pointer, source in parts.items() if source for name in required(source, pointer, known)}
