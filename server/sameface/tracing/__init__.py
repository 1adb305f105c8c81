"""Traces: what the service did for a call, and how long each part took, as spans for an OpenTelemetry collector."""
