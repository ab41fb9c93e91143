"""Apple's Messages: what is asked of it is believed only when it stands in its database."""
