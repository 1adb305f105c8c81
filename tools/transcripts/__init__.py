"""The outputs in the documents that depend on the default embedder, and how they are made again."""
