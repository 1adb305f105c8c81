"""Other libraries that verify faces, each in an environment of its own, for comparison."""
