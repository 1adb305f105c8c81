"""From a photo to a decision: the operations of the service, without gRPC."""
