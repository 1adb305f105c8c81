"""What happens in the service, told to whoever observes it: metrics and traces. Free while nobody does."""
