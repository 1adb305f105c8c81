"""Starts `sameface-train`, or says which packages it needs."""

from typing import NoReturn

from sameface.cli.start import start


def main() -> NoReturn:
    """Run `sameface-train`."""
    start("sameface-train", "sameface_train.cli", extra="train")
