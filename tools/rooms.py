"""Counts the rooms of a package (its direct children), the imports among them, and their floors.

A room is one floor above the highest room that it imports. Usage: ``python tools/rooms.py [PACKAGE] [--json]``. Exits
with 1 if rooms import one another in a circle.
"""

import argparse
import json
import sys
from graphlib import CycleError, TopologicalSorter

import grimp


def measure(package: str) -> dict[str, object]:
    """Return the floor and the imports of every room of a package, and the totals.

    Raises:
        CycleError: rooms import one another in a circle.
    """
    graph = grimp.build_graph(package, exclude_type_checking_imports=True, cache_dir=None)
    rooms = sorted(graph.find_children(package))
    modules = len(graph.modules)
    for room in rooms:
        graph.squash_module(room)
    imports = {room: sorted(graph.find_modules_directly_imported_by(room) & set(rooms) - {room}) for room in rooms}
    floors: dict[str, int] = {}
    for room in TopologicalSorter(imports).static_order():
        floors[room] = 1 + max((floors[below] for below in imports[room]), default=0)
    return {
        "package": package,
        "modules": modules,
        "rooms": len(rooms),
        "imports": sum(map(len, imports.values())),
        "floors": max(floors.values()),
        "each": {
            room.removeprefix(f"{package}."): {
                "floor": floors[room],
                "imports": [below.removeprefix(f"{package}.") for below in imports[room]],
            }
            for room in sorted(rooms, key=lambda room: (-floors[room], room))
        },
    }


def main() -> int:
    """Print the figures and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", nargs="?", default="sameface_qdrant")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    try:
        found = measure(options.package)
    except CycleError as error:
        print(f"rooms import one another in a circle: {' -> '.join(error.args[1])}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    print("{package}: {rooms} rooms, {imports} imports among them, {floors} floors ({modules} modules)".format(**found))
    each = found["each"]
    assert isinstance(each, dict)
    for room, about in each.items():
        print(f"  floor {about['floor']}  {room:<12} {', '.join(about['imports'])}".rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
