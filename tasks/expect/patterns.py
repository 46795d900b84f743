"""Regular expressions that mean the same to every engine that reads them: Python's, and RE2 in DuckDB and Arrow."""

import re
import warnings

import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import ConfigError

DIFFERENT = {
    r"\\[^trnfv\W]": "classes and references by letter or number, such as \\d: write [0-9]",
    r"\(\?": "groups with (?",
    r"\$|(?<!\[)\^": "anchors: the whole text must fit anyway",
    r"\[[\[:.=]": "classes with a name",
    r"[+*?}]\+": "possessive repeats",
    r"\{,": "repeats without a least number",
    r"--|&&|\|\||~~": "operations on classes",
}
"""What engines read differently, or only some of them know."""


def portable(place: str, pattern: object) -> str:
    """The pattern, if it is one. Raises ConfigError."""
    if not isinstance(pattern, str):
        raise ConfigError(f"{place}: regex is no text: {pattern!r}", "write it in quotes")
    bare = re.sub(r"\\[^\w\s]", "x", pattern)  # a sign that is escaped stands for itself everywhere
    for different, what in DIFFERENT.items():
        if re.search(different, bare):
            raise ConfigError(f"{place}: the regex {pattern!r} has {what}", "these are not read alike everywhere")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(pattern)
        pc.match_substring_regex(pa.array([""]), pattern)
    except (re.error, FutureWarning, OverflowError, pa.ArrowInvalid) as error:
        raise ConfigError(f"{place}: the regex {pattern!r} is wrong: {error}", "mend the file") from error
    return pattern
