"""A caller, the galleries it was granted, and the caller of the present call."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from sameface.access.roles import KNOWING, RULES, Role, gallery_of, tuned_by
from sameface.errors import PermissionDenied
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.ids import ALL, check_gallery_pattern, covers_gallery


@dataclass(frozen=True, slots=True)
class Grant:
    """Roles in a gallery."""

    gallery: str
    """The id of a gallery, the start of ids with ``*`` behind it, or ``*`` for all galleries and the server itself."""
    roles: frozenset[Role]

    @classmethod
    def of(cls, gallery: str, roles: Any) -> "Grant":
        """Return a grant of texts.

        Raises:
            InvalidArgument: a role or the gallery has another form.
        """
        check_gallery_pattern(gallery, "the gallery of a grant")
        known = [role.value for role in Role]
        if not isinstance(roles, list | tuple) or not roles or not all(role in known for role in roles):
            raise InvalidArgument(
                f"the roles of a grant are {roles!r}; expected one or more of {', '.join(known)}",
                metadata={"field": "roles"},
            )
        return cls(gallery, frozenset(Role(role) for role in roles))

    def covers(self, gallery: str) -> bool:
        """Return whether it is for this gallery; "" stands for all galleries together."""
        return self.gallery == ALL or (gallery != "" and covers_gallery(self.gallery, gallery))


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls."""

    name: str
    """Names it in logs: ``key:…``, ``token:…`` or ``certificate:…``; empty without authentication."""
    grants: tuple[Grant, ...]

    def roles_in(self, gallery: str | None) -> frozenset[Role]:
        """Return its roles in a gallery; "" for all galleries together, None for any one."""
        roles: frozenset[Role] = frozenset()
        for grant in self.grants:
            if gallery is None or grant.covers(gallery):
                roles = roles | grant.roles if roles else grant.roles
        return roles

    def may_know(self, gallery: str | None) -> bool:
        """Return whether it may know scores, embeddings and whom a face is like; None: in any gallery."""
        return bool(self.roles_in(gallery) & KNOWING)

    def check(self, rpc: str, request: Any) -> None:
        """Check that it may make a call.

        Raises:
            PermissionDenied: it may not. The error is the same whether the gallery exists or not.
        """
        rule = RULES.get(rpc)
        gallery = None if rule is None else gallery_of(rule, request)
        roles = self.roles_in(gallery)
        if rule is None or not roles & rule.roles:
            raise PermissionDenied(f"this caller may not call {rpc} here", metadata={"rpc": rpc})
        if not roles & KNOWING and (tuned := tuned_by(rule, request)):
            raise PermissionDenied(
                f"this caller may not set {' and '.join(tuned)} in {rpc}: its role knows no scores",
                metadata={"rpc": rpc, "field": tuned[0]},
            )


EVERYBODY = Caller("", (Grant(ALL, frozenset(Role)),))
"""The caller where the service asks for no credentials."""

_PRESENT: ContextVar[Caller] = ContextVar("caller")


def present_caller() -> Caller:
    """Return the caller of the present call."""
    return _PRESENT.get()


def begin_call(caller: Caller) -> None:
    """Make ``caller`` the present one, until the task of the call ends."""
    _PRESENT.set(caller)
