"""What the tests are made with; tests/README.md says which to take for what."""
