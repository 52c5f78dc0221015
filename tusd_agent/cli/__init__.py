"""The command line: one file per group of commands, each imported only when it is asked for.

Exit codes: 0 fine; 1 it failed; 2 wrong usage; 3 the agent is not running; 4 it does not answer; 78 bad configuration.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

from .. import __version__


class _Row(NamedTuple):
    """Where a command lives, ``module:attribute`` in this package, and its line in the help."""

    where: str
    line: str


# The lines stand here, not only in the commands: to show the help, none of them has to be imported.
COMMANDS: Mapping[str, Mapping[str, _Row]] = MappingProxyType(
    {
        "The agent": {
            "run": _Row("run:run_command", "Run the agent until it is stopped."),
            "demo": _Row("demo:demo_command", "Show what the agent does, with a server of its own."),
            "check-config": _Row("check_config:check_config_command", "Check the configuration."),
            "completion": _Row("completion:completion_command", "Have the shell complete commands."),
        },
        "As a service": {
            "install-service": _Row("install:install_command", "Install it for systemd."),
            "uninstall-service": _Row("install:uninstall_command", "Remove it again."),
        },
        "Without the agent": {
            "upload": _Row("upload:upload_command", "Upload files now."),
        },
        "Looking": {
            "status": _Row("status:status_command", "Show how the agent is doing."),
            "top": _Row("top:top_command", "Watch it live."),
            "jobs": _Row("jobs:jobs_command", "List jobs, newest first."),
            "show": _Row("show:show_command", "Show all there is to know of a job."),
            "errors": _Row("errors:errors_command", "Show what is wrong, and what to do."),
            "doctor": _Row("doctor:doctor_command", "Look whether everything is right."),
            "explain": _Row("explain:explain_command", "Say what becomes of a file, and why."),
            "metrics": _Row("metrics:metrics_command", "Print the metrics for Prometheus."),
            "wait": _Row("waiting:wait_command", "Wait until files have arrived, for scripts."),
            "verify": _Row("verify:verify_command", "Compare files with what was sent."),
        },
        "Telling": {
            "retry": _Row("orders:retry_command", "Try jobs now, failed ones again."),
            "hold": _Row("orders:hold_command", "Keep jobs back."),
            "release": _Row("orders:release_command", "Let held jobs go on."),
            "cancel": _Row("orders:cancel_command", "Do not send jobs."),
            "resend": _Row("orders:resend_command", "Send files once more."),
            "adopt": _Row("orders:adopt_command", "Take held jobs as sent before."),
            "pause": _Row("pausing:pause_command", "Let nothing be sent for a while."),
            "resume": _Row("pausing:resume_command", "Let it go on."),
            "limit": _Row("limiting:limit_command", "Say how fast files may be sent."),
            "add": _Row("adding:add_command", "Have files looked at now."),
            "reload": _Row("reloading:reload_command", "Read the configuration again."),
            "rescan": _Row("orders:rescan_command", "Read watched folders now."),
        },
    }
)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.option_name in ("--config", "--socket", "--json"):
                ctx.fail(f"{error.option_name} goes behind the command: tusd-agent status {error.option_name}")
            raise

    def main(self, *args: Any, **extra: Any) -> Any:
        """As click does it; an output that can't be written is an error of its own, and said."""
        try:
            return super().main(*args, **extra)
        except OSError as error:
            if not _of_output(error):
                raise
            # What is left of it would be tried once more at the end of the program.
            with suppress(OSError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
            click.echo(f"tusd-agent: what it has to say can't be written: {error.strerror or error}", err=True)
            raise SystemExit(1) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for section in COMMANDS.values():
            if cmd_name in section:
                module, _, attribute = section[cmd_name].where.partition(":")
                command: click.Command = getattr(import_module(f".{module}", __package__), attribute)
                return command
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], names, 1)
            allowed = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(names)}."
            ctx.fail(f"There is no command {args[0]!r}. {allowed}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list["CompletionItem"]:
        """As click does it, without importing any command for its line in the help."""
        from click.shell_completion import CompletionItem

        rows = [(name, row.line) for section in COMMANDS.values() for name, row in section.items()]
        offered = [CompletionItem(name, help=line) for name, line in rows if name.startswith(incomplete)]
        return [*offered, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, row.line) for name, row in section.items()], col_max=18)


def _of_output(error: OSError) -> bool:
    """Whether it was met by what writes to the terminal, or to where stdout leads instead."""
    from traceback import walk_tb

    *_, (innermost, _) = walk_tb(error.__traceback__)
    return str(innermost.f_globals.get("__name__")).partition(".")[0] in ("click", "rich")


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each command explains itself: tusd-agent COMMAND --help",
)
@click.version_option(__version__, prog_name="tusd-agent", message="%(prog)s %(version)s")
def main() -> None:
    """Drop a file into a watched folder: it arrives on a tus server, whole, exactly once."""
