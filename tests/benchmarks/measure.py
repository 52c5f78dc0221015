"""One run of one contender: a process of its own, and what the kernel says it took (wait4(2))."""

import os
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Run:
    """`cpu_seconds`: user and system, of the process and its children; `peak_rss_mib`: of the largest of them."""

    cpu_seconds: float
    wall_seconds: float
    peak_rss_mib: float


class RunFailed(Exception):
    """The contender ended with an error, or did not send all it should."""


def measure(command: list[str], environment: dict[str, str]) -> Run:
    """Raises `RunFailed` when the program exits other than with 0.

    The peak begins at this process's own size, which the child has until it executes its program: stay small here.
    """
    began_at = time.monotonic()
    child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall_seconds = time.monotonic() - began_at
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise RunFailed(f"{' '.join(command)} ended with {child.returncode}")
    return Run(usage.ru_utime + usage.ru_stime, wall_seconds, usage.ru_maxrss / 1024)


def bare_environment(certificate: Path) -> dict[str, str]:
    """The environment of every contender: no proxies, and `certificate` trusted by what each library asks.

    Bytecode is kept, whatever the caller's own environment says: installed packages have theirs already, and ours alone
    would be compiled anew for each run.
    """
    trust = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "PYTHONPATH": str(ROOT), **dict.fromkeys(trust, str(certificate))}


def make_certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate for 127.0.0.1, by the program openssl, and a server's context with it."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    request = "openssl req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=sink"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*request.split(), *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context
