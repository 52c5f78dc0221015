"""Bearer tokens: where they lie, and reading them anew for each request.

A credential that systemd hands over (LoadCredential=, systemd.exec(5)) is a file in $CREDENTIALS_DIRECTORY.
"""

import os
from collections.abc import Mapping
from pathlib import Path

# A token travels in one header, and servers end the request at 8 to 16 KiB of headers.
LARGEST_TOKEN_BYTES = 16 * 1024


class CredentialError(OSError):
    """There is no usable token now. An OSError: like a network that is down, it may be back for the next try."""


class TokenMissing(CredentialError):
    """The file is not there, or empty: whoever is to bring the token may not have done so yet."""


def token_places(name: str, config_dir: Path | None, environ: Mapping[str, str]) -> list[Path]:
    """Where `bearer_token_file = name` is looked for, in this order."""
    if name.startswith("~/") and environ.get("HOME"):
        return [Path(environ["HOME"], name[2:])]
    if name.startswith("~"):
        return [Path(os.path.expanduser(name))]
    folders = [Path(folder) for folder in [environ.get("CREDENTIALS_DIRECTORY", "")] if folder]
    folders += [config_dir] if config_dir is not None else []
    # An absolute name wins over the folder it is joined to, so it is its own only place.
    return list(dict.fromkeys(folder / name for folder in folders)) or [Path(name)]


def find_token_file(name: str, config_dir: Path | None, environ: Mapping[str, str]) -> Path:
    """The first of the places that exists. Raises TokenMissing that lists them when none does."""
    places = token_places(name, config_dir, environ)
    for place in places:
        if place.is_file():
            return place
    raise TokenMissing("there is no such file; looked for " + " and ".join(str(place) for place in places))


def bearer_from_file(name: str, config_dir: Path | None, environ: Mapping[str, str]) -> str:
    """The token in the file that `bearer_token_file = name` means now. Raises CredentialError."""
    place = find_token_file(name, config_dir, environ)
    try:
        with place.open("rb") as file:
            content = file.read(LARGEST_TOKEN_BYTES + 1)
    except OSError as error:
        raise CredentialError(f"{place} can't be read: {error.strerror}") from error
    return _checked(content, str(place))


def bearer_from_environment(variable: str, environ: Mapping[str, str]) -> str:
    """The token in the environment variable. Raises CredentialError."""
    if variable not in environ:
        raise CredentialError(f"the environment variable {variable} is not set")
    return _checked(environ[variable].encode(errors="surrogateescape"), f"the environment variable {variable}")


def _checked(content: bytes, place: str) -> str:
    """The one line of printable ASCII without spaces (RFC 6750, section 2.1) that `content` must be."""
    lines = content.strip().split(b"\n")
    if lines == [b""]:
        raise TokenMissing(f"{place} is empty")
    if len(lines) > 1:
        raise CredentialError(f"{place} holds more than one line")
    if len(content) > LARGEST_TOKEN_BYTES:
        raise CredentialError(f"{place} holds more than {LARGEST_TOKEN_BYTES} bytes, which is no token")
    if lines[0].lower().startswith(b"bearer "):
        raise CredentialError(f'{place} begins with the word "Bearer", which the agent adds itself')
    if not all(0x21 <= byte <= 0x7E for byte in lines[0]):
        raise CredentialError(f"{place} holds spaces, control or non-ASCII characters, which no token may")
    return lines[0].decode("ascii")
