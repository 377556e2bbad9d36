"""`python -m relay`, the same as `ksmp-relay`."""

from relay.cli import main

main()
