"""Values from data as people read them."""

from datetime import UTC, datetime, timedelta


def one_line(text: str, length: int = 80) -> str:
    """Safe to print: data may hold line breaks, escape sequences for the terminal, or a megabyte."""
    clean = "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text[: length + 1])
    return clean if len(text) <= length else clean[:length] + "…"


def cell(value: object) -> str:
    """Text in quotes, so that a blank one is seen."""
    return one_line(f"'{value}'") if isinstance(value, str) else number(value)


def number(value: object) -> str:
    if value is None:
        return "null"
    return f"{value:g}" if isinstance(value, float) else str(value)


def instant(microseconds: int) -> str:
    """Since 1970, UTC. Years that Python does not know are said in seconds."""
    try:
        return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds):%Y-%m-%d %H:%M:%S}"
    except OverflowError:
        return f"{microseconds / 1e6:.6g} s since 1970"


def count_of(n: float, what: str) -> str:
    """`1 file`, `2 files`."""
    return f"{n:,.0f} {what}{'' if n == 1 else 's'}"
