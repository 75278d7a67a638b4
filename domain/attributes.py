"""Attributes of profiles: their types, and the three that are known by name."""

from enum import StrEnum


class AttributeType(StrEnum):
    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"  # A text in ISO 8601, a day or an instant.
    LIST = "list"
    OBJECT = "object"


# Of types whose values can be kept for fast search.
SEARCHABLE = frozenset(AttributeType) - {AttributeType.LIST, AttributeType.OBJECT}

LONGEST_NAME = 200  # Characters.
MOST_NAMES = 2000  # Of attributes in the catalogue of one workspace.
