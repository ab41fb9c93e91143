"""The ways to the backend: the socket, HTTP, and what both need."""
