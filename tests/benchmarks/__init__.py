"""What the client library costs, beside others: ``python -m tests.benchmarks.library``."""
