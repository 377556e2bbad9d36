"""What an operator sees of a running relay: a listener of its own that only this machine reaches.

    pages ── readiness, metrics ── observed     asks of the relay's parts, and shows
      └── gate                                  who may ask, how often, how much at once
           └── listener                         HTTP on loopback

Nothing here waits for the relay's parts, and none of them waits for anything here.
"""
