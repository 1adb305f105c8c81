"""The `sameface` command."""
