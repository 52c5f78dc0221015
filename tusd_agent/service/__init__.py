"""The composition root: builds every part from the settings, starts them in order, stops them in reverse."""

from .assembly import watched_folder
from .service import EXIT_CONFIG, Service, StartError

__all__ = ["EXIT_CONFIG", "Service", "StartError", "watched_folder"]
