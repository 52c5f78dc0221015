"""A storm over a watched folder: writers that keep books of all they do, and what must hold when it is over.

`belongings` does what happens to files and writes it down, `writers` chooses what happens, `weather` starts writers
and stalls the agent, `ledger` reads the books, `check` holds the server and the agent's jobs against them.
By hand: ``python -m tests.integration.storm --help``.
"""
