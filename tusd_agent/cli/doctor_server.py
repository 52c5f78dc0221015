"""What ``tusd-agent doctor`` asks the servers: are they there, do they speak tus, what do they take?"""

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import requests
from requests.exceptions import RequestException

from ..config import EndpointSettings, Settings
from ..control.replies import escaped
from ..tus.discovery import ServerInfo, parse
from ..tus.network import network_failure
from .doctor_checks import Check, Verdict
from .servers import certificate_of, headers_of, trust_of
from .words import size

SERVER_SECONDS = 10.0


def endpoint(name: str, settings: Settings, ahead: dict[str, float]) -> Iterator[Check]:
    """Asks one endpoint by OPTIONS (tus 1.0, Requests/OPTIONS); notes in `ahead` by how much its clock is."""
    here = settings.endpoint[name]
    what = f"endpoint {name}"
    try:
        began_at = time.time()
        response = _ask(here, settings)
    except RequestException as error:
        failure = network_failure("OPTIONS", here.url, error)
        yield Check(what, Verdict.FAIL, escaped(str(failure)), "look at the server, the network and the endpoint's url")
        return
    except (OSError, ValueError) as error:
        yield Check(what, Verdict.FAIL, escaped(str(error)), "mend the endpoint's credentials or certificates")
        return
    try:
        told = parsedate_to_datetime(response.headers["Date"]).timestamp()
        ahead[name] = told - (began_at + time.time()) / 2
    except (KeyError, ValueError, OverflowError):
        pass  # not every server tells
    yield _judged(what, here, response)


def _ask(here: EndpointSettings, settings: Settings) -> requests.Response:
    headers = {**headers_of(here, settings), "Tus-Resumable": "1.0.0"}
    with requests.Session() as session:
        return session.request(
            "OPTIONS", here.url, headers=headers, timeout=SERVER_SECONDS, allow_redirects=False,
            verify=trust_of(here), cert=certificate_of(here),
        )  # fmt: skip


def _judged(what: str, here: EndpointSettings, response: requests.Response) -> Check:
    status = response.status_code
    if status in (401, 403, 407):
        words = f"the server answers {status} to these credentials"
        return Check(
            what, Verdict.FAIL, words, "renew the endpoint's token or password, or give it the right to upload"
        )
    if 300 <= status < 400:
        to = escaped(response.headers.get("Location", "elsewhere"))
        return Check(what, Verdict.FAIL, f"the server sends on to {to}", "set the endpoint's url to where it leads")
    if status >= 500:
        return Check(what, Verdict.FAIL, f"the server answers {status}", "look at the server, or the proxy before it")
    if "Tus-Version" not in response.headers:
        words = f"something answers there ({status}), but not as a tus server"
        remedy = "compare the url with the server's path (tusd: -base-path); some proxies keep OPTIONS from it"
        return Check(what, Verdict.FAIL if status in (404, 405) else Verdict.WARN, words, remedy)
    info = parse(response.headers)
    if "1.0.0" not in info.versions:
        return Check(what, Verdict.FAIL, f"it speaks tus {', '.join(info.versions)}, not 1.0.0", "use a tus 1.0 server")
    if "creation" not in info.extensions:
        return Check(what, Verdict.FAIL, f"{_told(info)}, but no uploads can be created", "have its creation enabled")
    return Check(what, Verdict.OK, _told(info))


def _told(info: ServerInfo) -> str:
    largest = f"files up to {size(info.max_size)}" if info.max_size else "files of any size"
    return f"tus {', '.join(info.versions)}, {largest}, extensions: {', '.join(sorted(info.extensions)) or 'none'}"
