"""The composition root: builds every part from the settings, starts them in order, stops them in reverse."""

from .assembly import watched_folder
from .opening import EXIT_CONFIG, StartError
from .service import Service

__all__ = ["EXIT_CONFIG", "Service", "StartError", "watched_folder"]
