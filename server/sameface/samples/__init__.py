"""Photos to enrol that lie outside the service: in a folder, in an S3-compatible store, or where an operator says."""
