"""A client of a KSMP v3 relay, on anyio: the same under Trio and asyncio, over ws:// and wss://.

    async with ksmp.client.connect(url, token) as connection:
        await connection.resume(cursor)
        ack = await connection.send(connection.envelope(...))
        async for event in connection.events(): ...

This is the low level: it sends, matches answers and delivers events. It keeps nothing, repeats
nothing and does not reconnect.
"""

from ksmp.client.connection import Connection, connect
from ksmp.client.errors import (
    ClientError,
    ConnectionLostError,
    HandshakeRefusedError,
    RefusedError,
)

__all__ = [
    "ClientError",
    "Connection",
    "ConnectionLostError",
    "HandshakeRefusedError",
    "RefusedError",
    "connect",
]
