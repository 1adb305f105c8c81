"""Who calls, and what they may.

`Access` finds out who calls, by an API key, a token of an OpenID provider, or a client certificate. Grants give a
caller roles in galleries, and `RULES` says which role each rpc needs.
"""
