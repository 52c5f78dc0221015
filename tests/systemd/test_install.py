"""The service put into place and taken away, by the README's commands, in a booted systemd."""

import pytest

from .installed import OUTGOING, Installed

pytestmark = pytest.mark.heavy


def test_files_of_another_user_arrive(service: Installed) -> None:
    """Installed as the README says, configured, started: what alice drops arrives on a real tusd."""
    service.configure()
    service.machine.run("tusd-agent", "install-service")
    assert service.state() == "active"
    service.machine.sh(
        f"echo from alice > {OUTGOING}/a.txt; mkdir {OUTGOING}/sub; seq 100000 > {OUTGOING}/sub/b.txt", user="alice"
    )
    found = service.wait_until_arrived("a.txt", "b.txt")
    assert found["a.txt"] == b"from alice\n"
    assert found["b.txt"] == b"".join(b"%d\n" % number for number in range(1, 100001))
