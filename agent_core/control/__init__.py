"""The control socket: a running agent can be looked at and told things by other processes of its user."""
