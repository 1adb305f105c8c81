"""The audit log: who called what, on which resource, with which outcome. Append-only, hash-chained and signed."""
