"""Metrics of the service for Prometheus: what is counted, and the port on which it is read."""
