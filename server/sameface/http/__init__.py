"""HTTP beside gRPC: Envoy turns REST/JSON and gRPC-Web into calls of the same service."""
