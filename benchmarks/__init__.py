"""Figures, printed with their conditions and never asserted in tests."""
