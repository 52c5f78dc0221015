"""Programs of others that some tests look at the system with."""

import os
import shutil

import pytest


def program(name: str, package: str) -> str:
    """The path of a program; a test without it is skipped, with CI in the environment it fails.

    `package` is where it comes from, for who reads that it is missing.
    """
    found = shutil.which(name)
    if found is None:
        missing = f"{name} is missing; it comes with {package}"
        if os.environ.get("CI"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    return found
