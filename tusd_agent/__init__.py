"""tusd-agent: files dropped into a watched folder arrive on a tus server, whole, exactly once.

The package is also a tus client library: ``from tusd_agent import TUSClient, TUSUploadError``. Its names are
loaded on first use (PEP 562): ``tusd-agent status`` pays for no HTTP client, the library for no watcher.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tus import TUSClient, TUSUploadError

__version__ = "0.1.0"
__all__ = ["TUSClient", "TUSUploadError", "__version__"]


def __getattr__(name: str) -> Any:
    if name in {"TUSClient", "TUSUploadError"}:
        return getattr(import_module(".tus", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
