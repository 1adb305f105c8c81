"""`python -m benchmarks peers`: says which peers are installed; with ``--install`` it installs them."""

import argparse
from collections.abc import Sequence

from rich.console import Console

from benchmarks.peers.environments import PEERS, install, is_installed, peer_folder
from sameface.settings import cache_folder


def main(arguments: Sequence[str]) -> None:
    """Say, or install."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks peers", description=__doc__)
    parser.add_argument("--install", action="store_true", help="install what is missing, into the cache folder")
    options = parser.parse_args(arguments)
    console, cache = Console(stderr=True), cache_folder()
    for peer in PEERS:
        why = ""
        if options.install:
            with console.status(peer.title) as status:
                why = install(peer, cache, status.update)
        state = f"installed in {peer_folder(peer, cache)}" if is_installed(peer, cache) else why or "not installed"
        print(f"{peer.title}: {state}")
