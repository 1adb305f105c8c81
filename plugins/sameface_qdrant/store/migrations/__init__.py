"""Changes the embedding contract of a gallery without photos: both contracts are live meanwhile."""
