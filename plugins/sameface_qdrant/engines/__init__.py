"""Where templates are kept: Qdrant Edge on disk, or a Qdrant server."""
