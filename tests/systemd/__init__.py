"""The service in a really booted systemd: `python -m tests.systemd install` makes what these tests boot."""
