"""The values that everything else speaks in: immutable, free of I/O, free of any engine. One module a concept."""
