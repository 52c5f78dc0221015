"""The metrics of a running agent, as Prometheus reads them."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.servers import Server
from tests.support.agent import Agent
from tests.support.files import write
from tests.support.programs import program
from tusd_agent.jobs.model import shown

PROMTOOL = ("promtool", "Debian's package prometheus")


README = Path(__file__).parents[2] / "README.md"


class Read:
    """The samples of a text, by name and labels."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self._samples[f"tusd_agent_{name}", frozenset(labels.items())]

    def labels(self, name: str) -> list[Mapping[str, str]]:
        return [sample.labels for sample in self.families[f"tusd_agent_{name}"].samples]

    def names(self) -> set[str]:
        """The names that the text says have a type, those of the process apart."""
        return {
            f"{name}_{suffix}" if (suffix := {"counter": "total", "info": "info"}.get(family.type)) else name
            for name, family in self.families.items()
            if not name.startswith("process_")
        }


def linted(subject: str, *arguments: str, text: str | None = None) -> None:
    """Has Prometheus' own linter look."""
    checked = subprocess.run(
        [program(*PROMTOOL), "check", subject, *arguments],
        input=text, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout


def test_what_is_counted_and_measured(
    embedded_server: Server, agent_factory: Callable[..., Agent], tmp_path: Path
) -> None:
    out, gone = tmp_path / 'a "quoted" \\ folder', tmp_path / "gone"
    agent = agent_factory(
        embedded_server.url,
        [
            {"path": out, "settle_seconds": 0.1, "after_upload": "delete"},
            {"path": gone, "settle_seconds": 0.1, "endpoint": "dead"},
        ],
        endpoints={"dead": {"url": "http://127.0.0.1:1/files/", "rate_limit": "1MiB/s"}},
        log_format="json",
    )
    agent.start()
    for number in range(3):
        write(out / f"{number}", 100_000, number)
    for number in range(4):
        write(gone / f"{number}", 1000, number)
    agent.wait_until(
        lambda status: status["jobs"]["done"] == 3 and status["endpoints"][1]["breaker"] == "open", 30, "arrived"
    )
    assert agent.ask("POST", "/v1/pause", {"endpoint": "dead"})[0] == 200
    printed = agent.command("metrics")
    assert (printed.returncode, printed.stderr) == (0, "")
    text = printed.stdout
    read = Read(text)

    assert read("jobs", folder=str(out), endpoint="default", state="done") == 3
    assert read("jobs", folder=str(out), endpoint="default", state="failed") == 0
    assert read("jobs_size_bytes", folder=str(out), endpoint="default", state="done") == 300_000
    assert read("upload_attempts_total", endpoint="default") == 3
    assert read("sent_bytes_total", endpoint="default") == 300_000
    assert read("arrived_bytes_total", endpoint="default") == 300_000
    assert read("upload_duration_seconds_count", endpoint="default") == 3
    assert read("upload_duration_seconds_count", endpoint="dead") == 0
    assert read("upload_duration_seconds_bucket", endpoint="default", le="+Inf") == 3
    assert read("after_uploads_total", folder=str(out)) == 3
    assert read("upload_errors_total", endpoint="dead", cause="out_of_reach") >= 3
    assert read("breaker_state", endpoint="dead", state="open") == 1
    assert read("breaker_state", endpoint="default", state="closed") == 1
    assert read("rate_limit_bytes_per_second", endpoint="dead") == 1 << 20
    assert read("oldest_waiting_job_time_seconds", folder=str(gone)) > read("start_time_seconds")
    assert [labels["folder"] for labels in read.labels("oldest_waiting_job_time_seconds")] == [str(gone)]
    assert read("paused", folder="", endpoint="dead") == 1
    assert read("folder_available", folder=str(gone)) == 1
    assert read("watcher_alive") == 1
    assert read("degraded") == 1
    assert read("database_size_bytes") > 0
    assert read("start_time_seconds") == agent.status()["started_at"]
    assert {labels["endpoint"] for labels in read.labels("last_answer_time_seconds")} == {"default"}
    assert "process_resident_memory_bytes" in read.families

    code, answer = agent.ask("GET", "/metrics", x=1)
    assert (code, answer["code"]) == (400, "bad_request")
    lines = [json.loads(line) for line in agent.log_text().splitlines()]
    (sent,) = (job for job in agent.jobs() if job["path"] == shown(os.fsencode(out / "0")))
    story = [line for line in lines if line.get("job") == sent["id"]]
    words = [line["message"].removeprefix(f"job {sent['id']} ({sent['path']}): ") for line in story]
    assert words == ["taken, 100000 bytes", "arrived at default, 100000 bytes", "deleted"]
    assert {(line["path"], line["endpoint"]) for line in story} == {(sent["path"], "default")}

    section = README.read_text().partition("### Metrics\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {f"tusd_agent_{name}" for row in rows for name in re.findall("`(\\w+)`", row)} == read.names()
    linted("metrics", text=text)


def test_the_alerts_of_the_readme(tmp_path: Path) -> None:
    (rules,) = re.findall(r"^```yaml\n(groups:\n.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "rules.yml").write_text(rules)
    linted("rules", str(tmp_path / "rules.yml"))
