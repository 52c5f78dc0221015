"""``tusd-agent demo``: the demonstration, with a tus server of its own."""

import click

from .options import EXIT_FAILED, fail

_EXTRA = ("tuspyserver", "uvicorn", "fastapi")


@click.command("demo")
@click.option("--once", is_flag=True, help="Go through it once and end.")
def demo_command(once: bool) -> None:
    """Show what the agent does: files, failures, and how they arrive all the same.

    All of it happens on this machine, in a folder of its own that is removed at the end.

    Example: tusd-agent demo --once
    """
    try:
        from ..demo.show import run_demo
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        fail(f"the demonstration needs {error.name}", "pip install 'tusd-agent[demo]'", EXIT_FAILED)
    raise SystemExit(run_demo(once))
