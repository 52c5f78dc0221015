"""The tests: a folder for each room, `support` and `servers` for what they share."""
