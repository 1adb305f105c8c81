"""Health: which parts of the service answer at the moment, and what each name of a health check says."""
