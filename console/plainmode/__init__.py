"""The console as lines: for screen readers, and for terminals that cannot draw."""
