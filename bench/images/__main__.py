"""`python -m bench.images`."""

import sys

from bench.images.command import app

if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
