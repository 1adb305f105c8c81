"""Runs `sameface` as `python -m sameface.cli`, which does not depend on PATH."""

from sameface.cli.start import main

main()
