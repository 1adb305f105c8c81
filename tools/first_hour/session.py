"""Runs blocks of Python one after another in one namespace: the program of the interpreter that a page starts.

It reads one line for each block, the path of its code and the path for what it prints, separated by a tab. After the
block it writes one line, ``0`` if the block ended well and ``1`` if not. It imports nothing of this repository.
"""

import os
import sys
import traceback


def main() -> None:
    """Run blocks until there are no more."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    # As in a terminal: modules are found in the folder where the interpreter was started.
    sys.path[0] = ""
    names: dict[str, object] = {"__name__": "__main__"}
    for line in sys.stdin:
        code, output = line.rstrip("\n").split("\t")
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.close(file)
        failed = False
        try:
            with open(code) as text:
                exec(compile(text.read(), code, "exec"), names)  # noqa: S102  # the code is a page of this repository
        except BaseException:
            traceback.print_exc()
            failed = True
        sys.stdout.flush()
        sys.stderr.flush()
        answers.write(f"{int(failed)}\n")


if __name__ == "__main__":
    main()
