"""The stores of every engine."""

from tests.plugin.conftest import store as store
