"""The durable log: records, inboxes, idempotency keys. Knows bytes and numbers, no sockets."""
