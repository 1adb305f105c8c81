"""What the service logs.

Libraries may log what they read: at level debug, Pillow writes the texts of a photo's metadata. So debug is for the
service's own modules, which log nothing of a photo.
"""

import logging
import sys
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]
OWN = ("sameface", "sameface_qdrant")


def log_to_stderr(level: Level) -> None:
    """Log the service's own messages from ``level`` on, and those of libraries from the same level or info on."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(
        level=max(number, logging.INFO),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    for name in OWN:
        logging.getLogger(name).setLevel(number)
