"""The files for systemd that come with the package: one source, `systemd/` of the repository."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def shipped(name: str) -> str:
    """The text of a file below ``systemd/``; the wheel carries that folder, a checkout has it beside the package."""
    for folder in (_PACKAGE / "systemd_files", _PACKAGE.parent / "systemd"):
        if (folder / name).is_file():
            return (folder / name).read_text()
    raise FileNotFoundError(f"{name} is not part of this installation of tusd-agent")
