"""gRPC in and out: proto in, domain call, proto or status out. No decision is made here."""
