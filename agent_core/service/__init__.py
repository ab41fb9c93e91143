"""The agent as a service of launchd or systemd: what is written for them, what they are told, and what the agent tells them."""
