"""sameface: one-shot identity verification as a service."""

import os

from sameface.libraries import NO_TELEMETRY

__version__ = "0.1.0"

# Here, because nothing of ours is imported before this, and what we start inherits it.
os.environ.update(NO_TELEMETRY)
