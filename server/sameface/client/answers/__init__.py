"""The values that the clients' methods return, one for each message of the service."""
