"""The values that all other modules use: immutable, without I/O, and without engines. One module per concept."""
