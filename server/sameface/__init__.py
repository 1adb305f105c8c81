"""sameface: one-shot identity verification as a service."""

import os

from sameface.libraries import NO_TELEMETRY

__version__ = "0.1.0"

# Set here, because this module is imported before every other one of ours, and child processes inherit the variables.
os.environ.update(NO_TELEMETRY)
