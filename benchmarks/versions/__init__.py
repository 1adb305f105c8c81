"""The table of the embedder's versions: licences, error rates on the LFW development set, and times."""
