"""Putting the service into place on this host, and taking it away again."""

from .host import Host, HostUnusable, look_at_host
from .plan import Places, Remove, Run, Step, Write, carry_out, install_plan, places_for, uninstall_plan

__all__ = [
    "Host",
    "HostUnusable",
    "Places",
    "Remove",
    "Run",
    "Step",
    "Write",
    "carry_out",
    "install_plan",
    "look_at_host",
    "places_for",
    "uninstall_plan",
]
