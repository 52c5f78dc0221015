"""The log in a real journal: fields, priorities, and a job's story by its number."""

import pytest

from .installed import AGENT, OUTGOING, Installed

pytestmark = pytest.mark.heavy


def test_a_story_is_found_by_its_field(service: Installed) -> None:
    service.configure()
    service.start()
    service.machine.sh(f"echo content > {OUTGOING}/story.txt", user="alice")
    service.wait_until_arrived("story.txt")

    def story() -> list[str]:
        said = service.machine.journal(
            "TUSD_AGENT_JOB=1", f"_SYSTEMD_UNIT={AGENT}", f"TUSD_AGENT_PATH={OUTGOING}/story.txt"
        )
        return [line.partition("): ")[2].split(" ")[0].rstrip(",") for line in said.splitlines()]

    service.machine.wait_for(lambda: story() == ["taken", "arrived"], f"the story, not {story()}")
    assert "story.txt" not in service.machine.journal("-u", AGENT, "-p", "warning")
    assert "job 1 (/srv/outgoing/story.txt): arrived" in service.machine.journal("-t", "tusd-agent", "-p", "info")
