"""``python -m tunemax`` is the command ``tunemax``."""

import sys

from tunemax.search.cli import main

sys.exit(main())
