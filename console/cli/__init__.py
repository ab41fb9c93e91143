"""The command line: one file a family of commands, each importing what it needs when it runs."""
