"""``tusd-agent metrics``: what the running agent tells Prometheus."""

from pathlib import Path

import click

from .options import config_option, socket_option
from .views import tell_text


@click.command("metrics")
@config_option
@socket_option
def metrics_command(config: Path | None, socket: Path | None) -> None:
    """Print the metrics of the running agent in Prometheus' text format.

    The README has a table of them, and examples of alerts.

    Example: tusd-agent metrics > /var/lib/prometheus/node-exporter/tusd-agent.prom
    """
    # Bytes, whatever the locale: the format is UTF-8.
    text = tell_text(socket, config, "/metrics")
    click.echo(text.encode(), nl=False)
