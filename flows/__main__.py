"""`python -m flows` is the `encore` command."""

import sys

from flows.cli import main

sys.exit(main())
