"""A template taken apart: text that is the same for everyone, and holes that differ for each person.

Liquid's nodes at the top level become one hole each, and only holes are rendered for a person. Holes of
one part (subject, html, text) are rendered in the document's order within one Liquid context, so what a
template keeps across the document (`assign`, `capture`, `increment`, `cycle`) comes out as if the whole
part were rendered. `{{ name }}` and `{{ a.b | default: "x" }}`, nearly all there is in practice, are
looked up without entering Liquid; a test holds both ways equal.
"""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, cast

from liquid import BoundTemplate, Environment, RenderContext
from liquid.ast import Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import FilteredExpression, Path, StringLiteral
from liquid.builtin.expressions.arguments import PositionalArgument
from liquid.builtin.expressions.filtered import Filter
from liquid.builtin.expressions.primitive import IntegerLiteral
from liquid.builtin.output import OutputNode
from liquid.builtin.tags.assign_tag import AssignNode
from liquid.builtin.tags.capture_tag import CaptureNode
from liquid.builtin.tags.comment_tag import CommentNode
from liquid.builtin.tags.doc_tag import DocNode
from liquid.exceptions import LiquidError, LiquidInterrupt, UndefinedError
from liquid.expression import Expression
from liquid.token import Token
from liquid.undefined import UNDEFINED, FalsyStrictUndefined

from domain.errors import Invalid, Refused
from domain.liquid_limits import bounded
from domain.liquid_work import READ, MeteredContext, TooMuchWork, Work, extent, weigh

# Around a hole's number while a part is still one text. Private use, from the last plane, where no icon
# font puts its letters; a template that has them is refused.
OPEN, CLOSE = "\U0010f000", "\U0010f001"
GUARD = "!"  # After OPEN: this hole begins a link.
MARKS = re.compile(f"{OPEN}(\\d+){CLOSE}")

# Where a message's token goes. Of characters that survive `url_encode` and escaping.
TOKEN = "~campanile-token~"

_LARGEST = 200_000  # Characters of one part. Gmail clips what is above 102 KB.
_SPECIAL = re.compile("[&<>\"']")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # The ledger keeps no NUL and no half of a character.
_COUNTERS = {"increment", "decrement"}
_LIQUIDS_OWN = {"now", "today", "size", "first", "last"}  # Names that Liquid gives a meaning.
_Plain = tuple[str, tuple[str, ...], str | None]  # A variable, the keys within it, its default.


class TemplateError(Refused):
    """This one message can't be made: it is skipped, and the sentence says why and what to do."""


class Lacking(TemplateError):
    """It prints what it was not given."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The template uses {{{{ {name} }}}}, which this profile lacks; "
            f"give it a default: {{{{ {name} | default: 'there' }}}}."
        )
        self.name = name


class Missing(FalsyStrictUndefined):
    """A variable that a profile lacks: false in a condition, printed only by its `default`."""


class _Context(MeteredContext):
    """Liquid's context, but a null is as good as missing: a mail that says "Dear ," is a broken one."""

    __slots__ = ()

    def get(self, path: list[object], *, token: Token | None, default: object = UNDEFINED) -> object:
        found = super().get(path, token=token, default=default)
        work = self.work
        units = len(found) >> 4 if type(found) is str else extent(found, work.left)
        work.left -= READ + 3 * len(self.loops) + units  # Not by `spend`: nothing is done more often.
        if work.left < 0:
            raise TooMuchWork
        if default is UNDEFINED and (found is None or type(found) is Missing):
            name = ".".join(map(str, path))
            return Missing(name, token=token, hint=name)
        return found


class _Template(BoundTemplate):
    context_class = _Context

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        context = _Context(self)
        self.units = [weigh(node, context) for node in self.nodes]  # Of work, before any turn of a loop.


class _Sandbox(Environment):
    """Liquid with limits: a template may come from anyone who has a key. It reads no other files."""

    template_class = _Template
    block_nesting_limit = 20
    context_depth_limit = 20
    loop_iteration_limit = 10_000
    local_namespace_limit = 100_000
    output_stream_limit = _LARGEST

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=extra)
        for tag in ("include", "render"):
            del self.tags[tag]
        self.filters = bounded(self, _LARGEST)


_HTML = _Sandbox(undefined=Missing, autoescape=True)
_TEXT = _Sandbox(undefined=Missing, autoescape=False)


def parse(source: str, pointer: str, *, markup: bool) -> _Template:
    """Parse one part. Raises Invalid with `pointer` and the line (from 1) of the fault."""
    if len(source) > _LARGEST:
        raise Invalid(f"Keep this part under {_LARGEST:,} characters; it has {len(source):,}.", pointer)
    if OPEN in source or CLOSE in source or TOKEN in source:
        raise Invalid("Take out U+10F000, U+10F001 and the word ~campanile-token~: we use them.", pointer)
    if crowd := re.search(r"\{{4,}", source):  # Liquid's lexer would look to the end for each of them.
        raise Invalid(f"{_line(source, crowd.start())}: take out {crowd[0][:8]}.", pointer)
    liquid = _HTML if markup else _TEXT
    try:
        template = cast(_Template, liquid.from_string(source))
    except LiquidError as error:
        # A fault at the very end (a block that nobody closed) has no place of its own.
        index = error.token.start_index if error.token and error.token.start_index >= 0 else len(source)
        raise Invalid(f"{_line(source, index)}: {_in_words(str(error.message))}.", pointer) from error
    for name, places in template.analyze(include_partials=False).filters.items():
        if name not in liquid.filters:
            raise Invalid(f"{_line(source, places[0].index)}: there is no filter {name}.", pointer)
    return template


def _in_words(message: str) -> str:
    """What Liquid found, but for a tag that it does not know, which need not be a typing error."""
    unknown = re.fullmatch("unexpected tag '(.*)'", message)
    if unknown is None or unknown[1].startswith(("end", "else", "elsif", "when")):
        return message
    return f"the tag {{% {unknown[1]} %}} is not available; take it out"


def _line(source: str, index: int) -> str:
    return f"Line {source.count(chr(10), 0, index) + 1} of the template"


@dataclass(frozen=True, slots=True)
class Hole:
    """One place that differs from person to person."""

    source: str  # As the marketer wrote it, more or less: {{ first_name | default: 'there' }}
    markup: bool  # Whether its value is HTML already; otherwise it is text, escaped where HTML wants it.
    tells_token: bool = False  # Whether TOKEN may be within its value.
    may_link: bool = False  # Whether <a href> may be within its value.


@dataclass(frozen=True, slots=True)
class _Lookup:
    """A hole whose value is looked up without Liquid: {{ name.rest | default: "x" }}."""

    hole: int
    name: str
    rest: tuple[str, ...]
    default: str | None
    node: Node  # For values that are neither text nor whole numbers, and for the error.


_Needed = tuple[int | None, Node, int]  # Where its value goes, and the units of work that it takes itself.


@dataclass(frozen=True, slots=True)
class _Part:
    """The nodes of one part that need Liquid, in order; None where a node only keeps something."""

    template: BoundTemplate
    nodes: Sequence[_Needed]


@dataclass(slots=True)
class Taken:
    """All that differs, over all parts of a template. A plain variable is one hole wherever it stands."""

    constants: Mapping[str, Any]
    holes: list[Hole] = field(default_factory=list)
    lookups: list[_Lookup] = field(default_factory=list)
    parts: list[_Part] = field(default_factory=list)
    work: Work = field(default_factory=Work, compare=False)  # For what is the same for everyone.
    _known: dict[_Plain, int] = field(default_factory=dict)

    def apart(self, source: str, pointer: str, *, markup: bool) -> str:
        """Take one part apart: what it says to everyone, with OPEN number CLOSE for each hole.

        Raises Invalid with `pointer` when the part can't be parsed.
        """
        template = parse(source, pointer, markup=markup)
        analysis = template.analyze(include_partials=False)
        changed = set(analysis.locals)
        counts = bool(_COUNTERS & analysis.tags.keys())
        context = _Context(template, globals=self.constants, work=self.work)
        said: list[str] = []
        needs: list[_Needed] = []
        for node, units in zip(template.nodes, template.units, strict=True):
            if isinstance(node, ContentNode):
                said.append(node.text)
                continue
            if isinstance(node, CommentNode | DocNode):
                continue
            if isinstance(node, AssignNode | CaptureNode):
                needs.append((None, node, units))
                continue
            if isinstance(node, OutputNode) and not counts:
                if self._same_for_all(node, changed):
                    said.append(_constant(node, units, context, pointer))
                    continue
                if (lookup := self._lookup(node, changed)) is not None:
                    said.append(f"{OPEN}{lookup}{CLOSE}")
                    continue
            needs.append((len(self.holes), node, units))
            said.append(f"{OPEN}{len(self.holes)}{CLOSE}")
            self.holes.append(
                Hole(str(node), markup, "unsubscribe_url" in str(node) or bool(changed), markup)
            )
        if needs:
            self.parts.append(_Part(template, tuple(needs)))
        return "".join(said)

    def _same_for_all(self, node: OutputNode, changed: set[str]) -> bool:
        """Whether the node speaks of nothing but constants. `date` may mean now, so it is never constant."""
        expression = node.expression
        if not isinstance(expression, FilteredExpression):
            return False
        roots = {path.head() for path in _paths(expression)}
        filters = {each.name for each in expression.filters or ()}
        return roots <= self.constants.keys() - changed and "date" not in filters

    def _lookup(self, node: OutputNode, changed: set[str]) -> int | None:
        """The hole of a plain variable, made when it is new; None when the node needs Liquid."""
        plain = _plain(node.expression)
        if plain is None or plain[0] in changed or plain[0] in self.constants:
            return None
        if plain not in self._known:
            self._known[plain] = len(self.holes)
            self.lookups.append(_Lookup(len(self.holes), *plain, node))
            self.holes.append(Hole(str(node), markup=False))
        return self._known[plain]

    def render(self, variables: Mapping[str, Any]) -> tuple[str, ...]:
        """The value of every hole for one person. Raises TemplateError when one can't be made."""
        values = [""] * len(self.holes)
        odd: list[_Needed] = []
        for lookup in self.lookups:
            value = variables.get(lookup.name)
            for key in lookup.rest:
                value = value.get(key) if type(value) is dict else _ODD
            # A carriage return is for Liquid, which makes a new line of it.
            if type(value) is str and (value or lookup.default is None) and "\r" not in value:
                values[lookup.hole] = value
            elif type(value) is int and -(10**18) < value < 10**18:
                values[lookup.hole] = str(value)
            elif (value is None or value == "") and lookup.default is not None:
                values[lookup.hole] = lookup.default
            else:
                odd.append((lookup.hole, lookup.node, READ))
        if odd or self.parts:
            everything, work = {**variables, **self.constants}, Work()
            for part in (_Part(_PLAIN, odd), *self.parts):
                _fill(part, everything, values, work)
        return tuple(values)


def _plain(expression: Expression) -> _Plain | None:
    """What `{{ name.key | default: "x" }}` says, or None for any expression that says more."""
    if not isinstance(expression, FilteredExpression) or not isinstance(expression.left, Path):
        return None
    keys = [key for key in expression.left.path if isinstance(key, str) and key not in _LIQUIDS_OWN]
    if len(keys) < len(expression.left.path):
        return None
    match expression.filters or []:
        case []:
            return keys[0], tuple(keys[1:]), None
        case [
            Filter(
                name="default", args=[PositionalArgument(value=StringLiteral() | IntegerLiteral() as default)]
            )
        ]:
            # A literal is HTML where HTML is written and text elsewhere; here it must be the same in both.
            said = str(default.value)
            return None if _SPECIAL.search(said) else (keys[0], tuple(keys[1:]), said)
        case _:
            return None


_ODD = object()
_PLAIN = _TEXT.from_string("")


def _fill(part: _Part, variables: Mapping[str, Any], values: list[str], work: Work) -> None:
    context = _Context(part.template, globals=variables, work=work)
    for hole, node, units in part.nodes:
        try:
            work.spend(units)
            value = _render(node, context)
        except UndefinedError as error:
            raise Lacking(str(error.message)) from error
        except LiquidError as error:
            raise TemplateError(_no_way(node, error.message)) from error
        except LiquidInterrupt as error:
            raise TemplateError(f"{_brief(node)} stands outside of any loop; take it out.") from error
        except Exception as error:  # Filters let out whatever Python raises: one message, not the batch.
            raise TemplateError(_no_way(node, error)) from error
        if _UNSTORABLE.search(value):
            raise TemplateError(_no_way(node, "it gives a NUL or half of a character"))
        if hole is not None:
            values[hole] = value


def _constant(node: Node, units: int, context: _Context, pointer: str) -> str:
    try:
        context.work.spend(units)
        return _render(node, context)
    except Exception as error:  # As below: a fault in the template, whatever Python calls it.
        why = error.message if isinstance(error, LiquidError) else error
        raise Invalid(f"{_brief(node)} can't be rendered: {why}.", pointer) from error


def _render(node: Node, context: RenderContext) -> str:
    buffer = context.get_buffer()
    node.render(context, buffer)
    return buffer.getvalue()


def _no_way(node: Node, why: object) -> str:
    return f"{_brief(node)} can't be rendered for this profile: {_UNSTORABLE.sub('�', str(why))}."


def _brief(node: Node) -> str:
    source = " ".join(str(node).split())
    return source if len(source) <= 80 else f"{source[:79]}…"


def _paths(expression: Expression) -> Iterator[Path]:
    if isinstance(expression, Path):
        yield expression
    for child in expression.children():
        yield from _paths(child)


def required(source: str, pointer: str, constants: Set[str]) -> set[str]:
    """The profile's attributes that every message prints without a default.

    What only stands within a block is not among them: whether it is printed depends on the profile.
    """
    template = parse(source, pointer, markup=True)
    known = set(template.analyze(include_partials=False).locals) | constants | {"now", "today"}
    names: set[str] = set()
    for node in template.nodes:
        expression = getattr(node, "expression", None)
        if isinstance(node, OutputNode) and isinstance(expression, FilteredExpression):
            if any(each.name == "default" for each in expression.filters or ()):
                continue
            if isinstance(expression.left, Path) and str(expression.left.head()) not in known:
                names.add(str(expression.left.head()))
    return names
