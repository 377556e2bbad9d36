"""`python -m bench.peers`."""

import sys

from bench.peers.command import app

if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
