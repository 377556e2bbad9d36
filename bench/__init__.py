"""Load on a relay, and what it shows: order checked at every receiver, latency, throughput."""
