"""Load on a relay, and what it shows: a history that is judged, latency, throughput."""
