"""What opens over the panels."""
