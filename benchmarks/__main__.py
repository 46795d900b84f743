"""`python -m benchmarks [NAME ...] [--option=value ...]`: runs the named benchmarks, or all of them.

Options are for the benchmarks that know them."""

import importlib
import sys
from pathlib import Path

KNOWN = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def main() -> int:
    names = [word for word in sys.argv[1:] if not word.startswith("-")] or KNOWN
    if unknown := [name for name in names if name not in KNOWN]:
        print(f"unknown benchmark {unknown[0]!r}; known: {', '.join(KNOWN)}", file=sys.stderr)
        return 2
    for name in names:
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


sys.exit(main())
