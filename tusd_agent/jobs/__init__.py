"""The durable queue: states and transitions, the SQLite database, and the three sides that use it."""
