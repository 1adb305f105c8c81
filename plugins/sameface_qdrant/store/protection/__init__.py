"""Protected galleries: keys, the keyed rotation of embeddings, the encryption of fields, the engine that uses them.

`keys`, `derived`, `rotation` and `sealing` are pure. `points` and `records` convert what is stored, `engine` does so
for an engine, and `rekey` takes a gallery to new keys. `cryptography` is imported when a key is first used, because it
is no dependency of the plugin alone.
"""
