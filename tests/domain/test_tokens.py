from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as some

from domain.tokens import LENGTH, Tokens

TOKENS = Tokens(b"a key of the test, long enough")


@given(some.uuids(), some.uuids())
def test_what_was_signed_is_read_again(workspace: UUID, message: UUID) -> None:
    token = TOKENS.sign(workspace, message)

    assert TOKENS.read(token) == (workspace, message)
    assert len(token) == LENGTH
    assert token.replace("-", "").replace("_", "").isalnum()


@given(some.text())
def test_nothing_that_anyone_makes_up_is_read_or_raises(token: str) -> None:
    assert TOKENS.read(token) is None


@given(some.text(alphabet="ABCDabcd0123-_+/=\x00é", min_size=LENGTH, max_size=LENGTH))
def test_nothing_of_the_right_length_is_read_or_raises(token: str) -> None:
    assert TOKENS.read(token) is None


@given(some.integers(0, LENGTH - 1), some.sampled_from("ABCwxyz0189-_+/="))
def test_a_token_with_another_character_anywhere_is_refused(place: int, other: str) -> None:
    token = TOKENS.sign(UUID(int=1), UUID(int=2))
    changed = token[:place] + other + token[place + 1 :]

    assert TOKENS.read(changed) == ((UUID(int=1), UUID(int=2)) if changed == token else None)


def test_another_key_reads_nothing() -> None:
    token = TOKENS.sign(uuid4(), uuid4())

    assert Tokens(b"another key, just as long").read(token) is None
