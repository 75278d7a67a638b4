"""Money as text, in SQL as `domain.money.shown` says it."""


def shown(column: str) -> str:
    """The SQL of an amount's text, with at least two decimals: 29.5000 is "29.50"."""
    return f"round({column}, greatest(scale(trim_scale({column})), 2))::text"
