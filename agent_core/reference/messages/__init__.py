"""A Mac's Messages in a box, for the demo and the tests: its database, the program itself, and `osascript` and `imsg` to reach it."""
