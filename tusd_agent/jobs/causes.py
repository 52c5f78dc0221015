"""The kinds of trouble a job can have, in few words each, and what an operator does about them. Words only.

What jobs in trouble are counted by: a cause never holds what differs from file to file. It is one of the words here,
perhaps with what the server answered behind it (``refused 422``) or what the system said (``file: Permission denied``).
"""

from collections.abc import Mapping
from types import MappingProxyType

from .states import FINISHED_WITH_SERVER_ERROR, LEDGER_LOST, TOO_OLD

OTHER = "other"
AUTH = "auth"
FORBIDDEN = "forbidden"
NO_TUS_SERVER = "no tus server"
UPLOAD_LOST = "the server lost the upload"
REFUSED = "refused"
TOO_LARGE = "too large"
BUSY = "busy"
CERTIFICATE = "certificate"
OUT_OF_REACH = "out of reach"
PROTOCOL = "protocol"
FILE = "file"
INTERNAL = "internal"
DISPOSAL = "after_upload"

FOLDER_REMOVED = "its folder is no longer in the configuration"
ENDPOINT_REMOVED = "its endpoint is no longer in the configuration"
HELD_BY_OPERATOR = "held by the operator"

HINTS: Mapping[str, str] = MappingProxyType(
    {
        AUTH: "renew the endpoint's token or password (bearer_token_file is read anew for each request, but a "
        "LoadCredential= of the unit only when the service starts)",
        FORBIDDEN: "the server knows who asks and says no: give that user the right, or use other credentials",
        NO_TUS_SERVER: "compare the endpoint's url with the server's path (tusd: -base-path); doctor asks it",
        UPLOAD_LOST: "the server removes unfinished uploads too early, or its disk was changed: look at its expiry",
        REFUSED: "read the server's words: a hook or a rule of it says no to these files; then retry them",
        TOO_LARGE: "raise the limit of the server (tusd: -max-size) or of the proxy before it, then retry",
        BUSY: "nothing, it goes on by itself; where it lasts, lower max_concurrent or agent.workers",
        CERTIFICATE: "renew the server's certificate, or name the right ca_file for this endpoint",
        OUT_OF_REACH: "nothing, it goes on by itself; where it lasts, look at the server and the network to it",
        PROTOCOL: "the server, or a proxy before it, breaks the tus protocol: look at its log",
        FILE: "mend what the system says of the file; it is tried again by itself within minutes",
        INTERNAL: "an error of tusd-agent: the log has a traceback, please report it",
        DISPOSAL: "mend what keeps the file from being deleted, moved or given to the command; it is tried again",
        FINISHED_WITH_SERVER_ERROR: "the server has every byte and yet refused it at the end: look at its hooks, "
        "then retry sends it anew",
        TOO_OLD: "it waited longer than give_up_after_seconds allows: retry begins a new wait",
        LEDGER_LOST: "it may have been sent before: adopt says that it was, release sends it",
        FOLDER_REMOVED: "put the folder back into the configuration, or cancel the jobs",
        ENDPOINT_REMOVED: "put the endpoint back into the configuration, or cancel the jobs",
        HELD_BY_OPERATOR: "release sends them, cancel ends them",
        OTHER: "tusd-agent show of one of them says more",
    }
)


def hint_of(cause: str) -> str:
    """What to do about a cause: of that very one, else of the kind that it begins with."""
    known = [kind for kind in HINTS if cause == kind or cause.startswith((f"{kind} ", f"{kind}:"))]
    return HINTS[max(known, key=len)] if known else HINTS[OTHER]
