"""`python -m benchmarks`: measures the service and the plugin on this machine.

Without a part it measures all parts of the report, one after another. build/bench/index.html shows the last figures of
each part. Parts that are not in the report have options of their own: try `python -m benchmarks PART --help`.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import bulk, gallery, guards, migration, observation, overload, pose, restarts
from benchmarks.conditions import conditions
from benchmarks.parts import PARTS
from benchmarks.peers import command as peers
from benchmarks.photos import command as photos
from benchmarks.plugin import print_plugin
from benchmarks.qdrant import command as qdrant
from benchmarks.results import print_tables, read_results, refreshed, write_results
from benchmarks.scaling import command as scaling
from benchmarks.things import command as things
from benchmarks.versions import command as versions

OTHERS: dict[str, Callable[[Sequence[str]], None]] = {
    "peers": peers.main,
    "photos": photos.main,
    "qdrant": qdrant.main,
    "gallery": gallery.main,
    "guards": guards.main,
    "bulk": bulk.main,
    "migration": migration.main,
    "observation": observation.main,
    "scaling": scaling.main,
    "capacity": scaling.capacity_main,
    "things": things.main,
    "restarts": restarts.main,
    "pose": pose.main,
    "versions": versions.main,
}
NAMES = (*PARTS, "report", "plugin", *OTHERS)


def main() -> None:
    """Measure and show; ``--json`` for programs."""
    if sys.argv[1:2] and sys.argv[1] in OTHERS:
        OTHERS[sys.argv[1]](sys.argv[2:])
        return
    parser = _parser()
    arguments = [one for one in sys.argv[1:] if one not in ("-h", "--help")]
    options, own = parser.parse_known_args(arguments)
    if options.part == "overload" and (own or len(arguments) < len(sys.argv) - 1):
        overload.main([one for one in sys.argv[1:] if one != "overload"])
        return
    parser.parse_args()
    if options.part == "plugin":
        print_plugin(options.templates, options.calls)
        return
    results = read_results(options.folder)
    wanted = [] if options.part == "report" else [options.part] if options.part else list(PARTS)
    console = Console(stderr=True)
    for name in wanted:
        with console.status(PARTS[name].title) as status:
            before = conditions()
            figures = PARTS[name].measure(options, status.update)
        results[name] = {"conditions": before, "figures": figures}
        write_results(options.folder, results)
        if not options.json:
            print_tables(PARTS[name].tables(figures))
    if options.part == "report":
        write_results(options.folder, results)
    if options.docs:
        path = Path("docs/benchmarks.md")
        path.write_text(refreshed(path.read_text(), results))
    if options.json:
        json.dump({name: results[name] for name in wanted or results}, sys.stdout, indent=2, ensure_ascii=False)
        print()
    else:
        console.print(f"page: {options.folder / 'index.html'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "part",
        nargs="?",
        choices=NAMES,
        help="what to measure; report: only write the page again from the last figures",
    )
    parser.add_argument("--quick", action="store_true", help="a few calls of each, to see that it works")
    parser.add_argument("--rounds", type=int, default=7, help="serving: rounds (default 7)")
    parser.add_argument("--sweeps", type=int, default=2, help="operations: rounds (default 2)")
    parser.add_argument("--turn-s", type=float, default=2.0, help="seconds of each turn in a round (default 2)")
    parser.add_argument("--no-peers", action="store_true", help="serving: without the other libraries")
    parser.add_argument("--starts", type=int, default=5, help="start: starts (default 5)")
    parser.add_argument("--calls", type=int, default=100, help="stages, plugin: photos or probes (default 100)")
    parser.add_argument("--templates", type=int, default=100_000, help="plugin: stored templates (default 100000)")
    parser.add_argument("--megapixels", type=int, default=50, help="loop: size of the large photo (default 50)")
    parser.add_argument("--cohort", type=int, default=10_000, help="loop: people in the cohort (default 10000)")
    parser.add_argument("--portraits", type=Path, default=Path("tests/data/portraits"))
    parser.add_argument("--folder", type=Path, default=Path("build/bench"), help="where figures and page are written")
    parser.add_argument("--docs", action="store_true", help="also write the tables into docs/benchmarks.md")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    return parser


if __name__ == "__main__":
    main()
