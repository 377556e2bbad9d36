"""`python -m bench.torture`."""

import sys

from bench.torture.command import app

if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
