"""Phone numbers: what is one, and the one form in which it is kept (E.164: `+4917012345678`)."""

from functools import lru_cache

from phonenumbers import (
    NumberParseException,
    PhoneNumberFormat,
    format_number,
    is_possible_number,
    parse,
)

_LONGEST = 64  # Characters that are looked at, whatever stands between the digits.


@lru_cache(maxsize=10_000)
def normal_phone(text: str) -> str:
    """The number in the one form that we keep and compare. It must be written with its country's code.

    Whether anybody answers there is the network's business: a possible number is enough. Raises `ValueError`
    with half a sentence that says what is wrong.
    """
    written = text.strip()
    if len(written) > _LONGEST:
        raise ValueError("A phone number is not that long")
    try:
        number = parse(written, None)
    except NumberParseException as error:
        if error.error_type is NumberParseException.INVALID_COUNTRY_CODE:
            raise ValueError(
                "Write the number with a plus and its country's code, such as +49 170 1234567"
            ) from error
        raise ValueError("This is no phone number, such as +49 170 1234567") from error
    if number.extension or not is_possible_number(number):
        raise ValueError("There can be no such phone number: count its digits")
    return format_number(number, PhoneNumberFormat.E164)
