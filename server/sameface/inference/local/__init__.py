"""The local tritonserver: its runtime environment, its process, and its recovery."""
