"""Money: an exact amount with at most four decimals, and the code of its currency."""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, Field

_AMOUNT = re.compile(r"[0-9]+(?:\.([0-9]+))?").fullmatch

LARGEST = Decimal(10) ** 12  # Above this an amount is a mistake in any currency.

# ISO 4217, the currencies in use and a few that were until lately, without funds codes and metals.
_CODES = """
AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD
CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ
GYD HKD HNL HRK HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP
LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB
PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SLL SOS SRD SSP STN SVC SYP
SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER
ZAR ZMW ZWG ZWL
"""
CURRENCIES = frozenset(_CODES.split())


def _three_capitals(code: str) -> str:
    if not re.fullmatch("[A-Z]{3}", code):
        raise ValueError("Write a currency as three capitals such as EUR.")
    return code


# As ISO 4217 writes it; whether anybody uses the currency is not asked.
Code = Annotated[str, AfterValidator(_three_capitals), Field(json_schema_extra={"pattern": "^[A-Z]{3}$"})]


def amount(text: str) -> Decimal:
    """An amount of nought or more, as it is written with a point: "29.33", "5", "5.00".

    The result has no trailing zeros, so that equal amounts are written alike by `format(…, "f")`.
    Raises `ValueError` with half a sentence.
    """
    found = _AMOUNT(text)
    if found is None:
        if text.startswith("-"):
            raise ValueError("It must not be negative")
        raise ValueError("Write it as digits with a point, such as 29.33, without a currency's sign")
    value = Decimal(text)
    if value > LARGEST:
        raise ValueError("It is too large, above 1,000,000,000,000; check the decimal point")
    if found[1] and len(found[1].rstrip("0")) > 4:
        raise ValueError("It has more than four decimals; round it first")
    return Decimal(int(value)) if value == value.to_integral_value() else value.normalize()


def currency(text: str) -> str:
    """The currency's code in capitals. Raises `ValueError` with half a sentence."""
    code = text.upper()
    if code not in CURRENCIES:
        raise ValueError("It is no currency; write its ISO 4217 code, such as USD")
    return code


def shown(value: Decimal) -> str:
    """An amount as it is answered, with at least two decimals: 29.5000 is "29.50", and 0.1255 stays."""
    whole, _, decimals = written(value).partition(".")
    return f"{whole}.{decimals:0<2}"


def written(value: Decimal) -> str:
    """An amount as `amount` reads it, without the zeros at its end: 29.5000 is "29.5"."""
    digits = format(value, "f")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits
