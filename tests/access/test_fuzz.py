"""The fuzzer of credentials tries every target. `python -m tests.access.fuzz` tries for long."""

from tests.access import fuzz


async def test_nothing_that_was_changed_passes() -> None:
    found = await fuzz.run(1.0, seed=3, tell=print)
    for target in ("token", "claims", "jwks", "api_key", "key_file", "grants", "pem", "certificate"):
        assert found[f"{target}: refused"] > 0
