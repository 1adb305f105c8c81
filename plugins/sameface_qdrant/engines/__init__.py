"""The engines that keep templates: Qdrant Edge on disk, and a Qdrant server."""
