"""Phone numbers: what is one, and the one form in which we keep and compare it, E.164."""

from functools import lru_cache

import phonenumbers


@lru_cache(maxsize=10_000)
def normal_phone(text: str) -> str:
    """The number as E.164 has it, such as +14155550123.

    Raises `ValueError` with half a sentence that says what is wrong. Whether anybody answers there, or the
    number was ever given out, is not asked: carriers begin new ranges before any list knows them.
    """
    try:
        found = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException:
        raise ValueError("This is no phone number with its country: write it like +14155550123") from None
    if not phonenumbers.is_possible_number(found):
        raise ValueError(f"A phone number of +{found.country_code} does not have this many digits")
    return str(phonenumbers.format_number(found, phonenumbers.PhoneNumberFormat.E164))
