"""What a page needs on which somebody puts a rule together, and segments that are ready to be made."""

from collections.abc import Collection, Iterator
from typing import Any, get_args
from uuid import UUID

from fastapi import status
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from api.callers import WorkspaceId, needs
from api.deps import Db
from api.manners import Feature
from api.routes.segments import SHOWN, SegmentOut, all_shown
from api.shapes import In, Name, Out, example
from api.stack import Opened
from domain import presets
from domain.comparisons import Property
from domain.deeds import Message, Then
from domain.errors import Invalid
from domain.events import ORDER_PLACED, SEGMENT_ENTERED, SEGMENT_LEFT
from domain.moments import Window
from domain.roles import Permission
from domain.segments import Condition, as_json
from models.queries import segment_fields, segments_written, workspaces

router = Feature(prefix="/segments", tags=["segments"])

_ID = "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"
_PRESET = {
    "name": "New customers",
    "group": "lifecycle",
    "rule": {"kind": "orders", "measure": "first", "op": "on or after", "value": "30 days ago"},
    "sentence": "the first order was in the last 30 days",
    "good_for": "Welcome them, and lead to the second order: most who leave do so before it.",
    "segment_id": None,
}
_TYPES = {"string": "text", "integer": "whole number", "boolean": "true or false"}
_FORMATS = {"uuid": "id", "moment": "moment", "span": "duration"}
# Where the programmers' words would not help a marketer.
_ABOUT = {
    "attribute": "What the profile's attribute says, as it is or read as a day.",
    "identity": "What one of the person's addresses, phones or ids says; its denial: none of them does.",
    "messages": "How many messages the person received, opened or clicked, or had bounce.",
    "segment": "Whether the person is in another segment, by its rule as it is now.",
    "flow": "Whether the person is in a flow now (at this step), has finished a journey, or ever entered it.",
}
_NEVER = {("identity", "op"): ("includes", "does not include")}  # A name is no list.
_ALWAYS = {
    ORDER_PLACED: (),
    SEGMENT_ENTERED: ("segment_id", "segment"),
    SEGMENT_LEFT: ("segment_id", "segment"),
}


class FieldOut(Out):
    name: str
    type: str = Field(
        description="text, number, whole number, true or false, id, choice, moment, duration, value (a text, "
        "a number, true or false, a moment, or a list: by the op and the measure), or the name of a part."
    )
    choices: list[str] = Field(description="The words that are allowed, such as the operators.")
    many: bool = Field(description="It is a list of these.")
    required: bool
    default: Any = Field(description="What holds where it is left out.")


class KindOut(Out):
    kind: str = Field(description='The "kind" of the condition, or the name of a part.')
    about: str
    fields: list[FieldOut]
    only_in_flows: bool = Field(description="It has a meaning in a branch of a flow alone.")


class AttributeOut(Out):
    name: str
    type: str
    hot: bool = Field(description="Conditions on it are answered from an index.")
    values: list[Any] = Field(description="What several people have, of a sample; the most frequent first.")


class EventOut(Out):
    name: str
    properties: dict[str, list[str]] = Field(description="Their types, the most frequent one first.")


class ThingOut(Out):
    id: UUID
    name: str


class FlowOut(ThingOut):
    steps: list[str]


class SchemaOut(Out):
    kinds: list[KindOut] = Field(description="Of conditions.")
    parts: list[KindOut] = Field(description="What fields consist of: windows, properties, steps.")
    attributes: list[AttributeOut]
    events: list[EventOut]
    lists: list[ThingOut]
    segments: list[ThingOut]
    campaigns: list[ThingOut]
    flows: list[FlowOut]
    topics: list[ThingOut]
    tags: list[str]
    currencies: list[str] = Field(description="The workspace's first.")

    model_config = example(
        {
            "kinds": [
                {
                    "kind": "tag",
                    "about": "Whether somebody put this tag on the profile.",
                    "fields": [
                        {
                            "name": "tag",
                            "type": "text",
                            "choices": [],
                            "many": False,
                            "required": True,
                            "default": None,
                        }
                    ],
                    "only_in_flows": False,
                }
            ],
            "parts": [],
            "attributes": [{"name": "plan", "type": "string", "hot": True, "values": ["free", "pro"]}],
            "events": [{"name": "Product Viewed", "properties": {"price": ["number"]}}],
            "lists": [{"id": _ID, "name": "Newsletter"}],
            "segments": [{"id": _ID, "name": "Good customers who went quiet"}],
            "campaigns": [{"id": _ID, "name": "Spring letter"}],
            "flows": [{"id": _ID, "name": "Thanks", "steps": ["thanks", "a day"]}],
            "topics": [{"id": _ID, "name": "Concerts"}],
            "tags": ["vip"],
            "currencies": ["USD"],
        }
    )


class PresetOut(Out):
    name: str
    group: presets.Group
    rule: dict[str, Any]
    sentence: str
    good_for: str
    segment_id: UUID | None = Field(description="The segment of this name, if there is one.")

    model_config = example(_PRESET)


class PresetsOut(Out):
    items: list[PresetOut]

    model_config = example({"items": [_PRESET]})


class PresetsIn(In):
    names: list[Name] | None = Field(None, min_length=1, max_length=100, description="All by default.")

    model_config = example({"names": ["New customers"]})


class SegmentsOut(Out):
    items: list[SegmentOut]

    model_config = example({"items": [SHOWN]})


@router.get("/schema", dependencies=[needs(Permission.SEGMENTS_READ)])
async def read_schema(workspace_id: WorkspaceId, db: Db) -> SchemaOut:
    """The kinds of conditions with their fields and operators, and what they can ask about here."""
    workspace = await workspaces.get(db, workspace_id)
    things = await segment_fields.things(db)
    others = [each for each in await segment_fields.currencies(db) if each != workspace.currency]
    named: dict[str, Any] = {
        f"{kind}s": [ThingOut.model_validate(each) for each in things if each.kind == kind]
        for kind in ("list", "segment", "campaign", "topic")
    }
    return SchemaOut(
        kinds=[_described(each) for each in get_args(Condition)],
        parts=[_described(each) for each in (Window, Property, Then)],
        attributes=[AttributeOut.model_validate(each) for each in await segment_fields.attributes(db)],
        events=_with_ours([EventOut.model_validate(each) for each in await segment_fields.events(db)]),
        flows=[FlowOut.model_validate(each) for each in things if each.kind == "flow"],
        tags=[*await segment_fields.tags(db)],
        currencies=[workspace.currency, *others],
        **named,
    )


@router.get("/presets", dependencies=[needs(Permission.SEGMENTS_READ)])
async def list_presets(opened: Opened, workspace_id: WorkspaceId, db: Db) -> PresetsOut:
    """Ready segments: the life of a customer, who reads, and RFM by what your buyers have done so far.

    RFM parts them into fifths; of more than 100,000 buyers about, by a random sample.
    """
    ready = await _ready(db, workspace_id, opened)
    made = await _made(db, ready)
    return PresetsOut(
        items=[
            PresetOut(
                name=each.name,
                group=each.group,
                rule=as_json(each.rule),
                sentence=each.sentence,
                good_for=each.good_for,
                segment_id=made.get(each.name),
            )
            for each in ready
        ]
    )


@router.post("/presets", status_code=status.HTTP_201_CREATED, dependencies=[needs(Permission.SEGMENTS_WRITE)])
async def create_presets(body: PresetsIn, opened: Opened, workspace_id: WorkspaceId, db: Db) -> SegmentsOut:
    """Create ready segments, except those of whose names there is a segment already. Answers the new ones."""
    ready = {each.name: each for each in await _ready(db, workspace_id, opened)}
    wanted = list(ready) if body.names is None else body.names
    for nth, name in enumerate(wanted):
        if name not in ready:
            raise Invalid(f'There is no preset "{name}": GET /segments/presets lists them.', f"/names/{nth}")
    there = await _made(db, [*ready.values()])
    made = [
        await segments_written.create(db, workspace_id, name, as_json(ready[name].rule))
        for name in dict.fromkeys(wanted)
        if name not in there
    ]
    return SegmentsOut(items=await all_shown(db, workspace_id, made))


async def _ready(db: AsyncSession, workspace_id: UUID, opened: Opened) -> list[presets.Preset]:
    currency = (await workspaces.get(db, workspace_id)).currency
    quintiles = await segment_fields.quintiles(db, opened.clock.now(), currency)
    return presets.presets(quintiles, currency)


async def _made(db: AsyncSession, ready: list[presets.Preset]) -> dict[str, UUID]:
    return await segment_fields.by_name(db, [each.name for each in ready])


def _with_ours(seen: list[EventOut]) -> list[EventOut]:
    """And those that we know of ourselves, though nobody was seen to do them yet."""
    ours = [
        EventOut(name=name, properties={each: ["string"] for each in properties})
        for name, properties in _ALWAYS.items()
    ]
    return [each for each in seen if each.name not in _ALWAYS] + ours


def _described(model: type[BaseModel]) -> KindOut:
    schema = model.model_json_schema()
    fields = schema["properties"]
    defined = schema.get("$defs", {})
    kind = fields.pop("kind", {}).get("const") or model.__name__.lower()
    about = (model.__doc__ or "").strip().partition("\n\n")[0]
    required = schema.get("required", ())
    return KindOut(
        kind=kind,
        about=_ABOUT.get(kind, " ".join(about.replace("`", "").split())),
        fields=[
            _field(name, each, name in required, defined, _NEVER.get((kind, name), ()))
            for name, each in fields.items()
        ],
        only_in_flows=model is Message,
    )


def _field(
    name: str, schema: dict[str, Any], required: bool, defined: dict[str, Any], never: Collection[str]
) -> FieldOut:
    options = [_named(each, defined) for each in _options(schema) if each.get("type") != "null"]
    many = all(each.get("type") == "array" for each in options)
    inside = [inner for each in options for inner in _options(each["items"])] if many else options
    choices = [word for each in inside for word in each.get("enum", _constant(each)) if word not in never]
    return FieldOut(
        name=name,
        type="choice" if choices else _type(inside),
        choices=choices,
        many=many,
        required=required,
        default=schema.get("default"),
    )


def _options(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for each in schema.get("anyOf", [schema]):
        if "anyOf" in each:
            yield from _options(each)
        else:
            yield each


def _named(schema: dict[str, Any], defined: dict[str, Any]) -> dict[str, Any]:
    """Words that have a name in the program are choices like any others."""
    found: dict[str, Any] = defined.get(schema.get("$ref", "").rpartition("/")[2], {})
    return found if "enum" in found else schema


def _constant(schema: dict[str, Any]) -> list[str]:
    return [schema["const"]] if "const" in schema else []


def _type(options: list[dict[str, Any]]) -> str:
    if len(options) != 1:
        return "value"
    [only] = options
    if "$ref" in only:
        return str(only["$ref"].rpartition("/")[2]).lower()
    if only.get("format") in _FORMATS:
        return _FORMATS[only["format"]]
    return _TYPES.get(only.get("type", ""), str(only.get("type", "value")))
