"""The catalogue: each type has a schema, an example that fits, and says when it is told of."""

import orjson
import pytest

from domain.announcements import LARGEST, AnnouncementType
from domain.catalogue import CATALOGUE, WHEN, example


@pytest.mark.parametrize("type_", AnnouncementType)
def test_each_type_has_a_model_an_example_and_a_word(type_: AnnouncementType) -> None:
    model = CATALOGUE[type_]

    schema = model.model_json_schema()

    assert model.__doc__
    assert WHEN[type_].endswith(".")
    assert all("description" in field and "examples" in field for field in schema["properties"].values())
    assert model.model_validate(example(type_)).model_dump(mode="json") == example(type_)
    assert len(orjson.dumps(example(type_))) < LARGEST


def test_the_catalogue_names_no_type_that_there_is_not() -> None:
    assert set(CATALOGUE) == set(WHEN) == set(AnnouncementType)
