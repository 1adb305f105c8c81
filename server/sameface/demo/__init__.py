"""The demo: starts the service, enrols portraits, decides, compares with the expected outcomes, and reports."""
