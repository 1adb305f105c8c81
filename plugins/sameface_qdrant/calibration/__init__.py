"""From scores to thresholds: pure, no I/O."""
