"""Protects stored templates: keys, the keyed rotation of embeddings, and the encryption of fields. No store, no engine.

`sameface_qdrant.store.protected_engine` uses it. `cryptography` is imported when a key is first used, because it is no
dependency of the plugin alone.
"""
