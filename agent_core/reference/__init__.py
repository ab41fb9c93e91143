"""The backend in a box: a pure hub, and one loopback port that serves it (PROTOCOL §5)."""
