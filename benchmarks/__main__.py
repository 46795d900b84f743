"""`python -m benchmarks [NAME ...]`: runs the named benchmarks, or all of them."""

import importlib
import sys
from pathlib import Path

KNOWN = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def main() -> int:
    names = sys.argv[1:] or KNOWN
    if unknown := [name for name in names if name not in KNOWN]:
        print(f"unknown benchmark {unknown[0]!r}; known: {', '.join(KNOWN)}", file=sys.stderr)
        return 2
    for name in names:
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


sys.exit(main())
