"""From a photo to a decision: what the service does, free of gRPC."""
