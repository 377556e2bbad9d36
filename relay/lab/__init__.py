"""A relay as a laboratory: started with `--lab`, its operator can order faults.

    orders.py      a file of orders
    effects.py     what each action does at each place, in a sentence
    laboratory.py  what is ordered, and what is said about it
    accepting.py   the failpoint where connections are accepted
    wire.py        the failpoints between a connection actor and its WebSocket

The other places are where they are named in `docs/failpoints.md`. A relay that is no laboratory has
none of all this: its parts hold None.
"""
