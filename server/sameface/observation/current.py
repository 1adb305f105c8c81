"""What the present stage is for whoever makes spans. It goes along with the task of a call."""

from contextvars import ContextVar

CURRENT: ContextVar[object] = ContextVar("present span", default=None)
"""The span that is being worked on; None outside of calls, and while nobody makes spans."""
