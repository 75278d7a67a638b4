"""Names that people gave, as they appear in ids."""

import re
import unicodedata


def slug(name: str) -> str:
    """`name` in at most 60 of a-z, 0-9 and hyphens: "Frühling, 50 %!" is "fruhling-50"."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60].rstrip("-") or "untitled"
