"""`python -m sameface.cli` is `sameface`, whatever PATH says."""

from sameface.cli.main import main

main()
