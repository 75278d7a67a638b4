import pytest

from domain.names import slug


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Winter letter", "winter-letter"),
        ("Frühling, 50 %!", "fruhling-50"),
        ("  --  ", "untitled"),
        ("冬の手紙", "untitled"),
        ("../../etc/passwd", "etc-passwd"),
        ("a" * 59 + " b", "a" * 59),
    ],
)
def test_a_name_becomes_what_can_stand_in_an_id(name: str, expected: str) -> None:
    assert slug(name) == expected
