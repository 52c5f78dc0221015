"""The control socket: server, client, table of commands."""
