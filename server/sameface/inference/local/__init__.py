"""A real tritonserver on this machine: its runtime environment, its process, and its recovery."""
