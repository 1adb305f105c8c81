"""Computes thresholds from scores. Pure, without I/O."""
