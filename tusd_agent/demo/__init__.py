"""The demonstration: a tus server and an agent on this machine, and what happens to a file between them."""
