"""Latency over offered load: an open loop at rates that are shares of what a relay can do."""
