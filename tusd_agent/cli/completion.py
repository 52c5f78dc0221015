"""``tusd-agent completion``: what a shell needs to know to complete the command line."""

import click
from click.shell_completion import ShellComplete, get_completion_class

PROGRAM, VARIABLE = "tusd-agent", "_TUSD_AGENT_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def completion_command(shell: str) -> None:
    """Print what makes a shell complete commands, options, states, folders and endpoints.

    \b
    bash:  tusd-agent completion bash > ~/.local/share/bash-completion/completions/tusd-agent
    zsh:   tusd-agent completion zsh > a file _tusd-agent in a folder of $fpath
    fish:  tusd-agent completion fish > ~/.config/fish/completions/tusd-agent.fish

    Example: tusd-agent completion bash
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click knows all three"
    from . import main

    # Not the kind's own: that of bash runs a bash to ask its version, and this may be made for another machine.
    click.echo(ShellComplete.source(kind(main, {}, PROGRAM, VARIABLE)))
