"""From a listening socket to an authenticated WebSocket, and the bytes in between."""
