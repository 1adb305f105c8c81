"""The health check of containers: with the standard library alone, because it runs every few seconds."""
