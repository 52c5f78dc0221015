"""Prints ``N passed, N failed`` over the JUnit files given; errors count as failed, skipped tests as neither."""

import sys
from pathlib import Path
from xml.etree import ElementTree

passed = failed = 0
for path in map(Path, sys.argv[1:]):
    if not path.exists():
        continue
    for suite in ElementTree.parse(path).iter("testsuite"):
        tests, failures, errors, skipped = (
            int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")
        )
        failed += failures + errors
        passed += tests - failures - errors - skipped
sys.stdout.write(f"{passed} passed, {failed} failed\n")
