"""The agent is killed again and again, at every commit and at random instants, and must lose nothing by that.

`books` makes the files and writes down what they hold, `points` ends the agent at a point of its way, `lives` begins
and ends its lives, `course` chooses where each ends, `diary` is what the lives leave behind, `check` holds disk,
server and queue against the books. By hand: ``python -m tests.integration.kills --help``.
"""
