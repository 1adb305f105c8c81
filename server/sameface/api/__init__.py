"""The gRPC layer: translates requests to domain calls, and results and errors to protos and statuses."""
