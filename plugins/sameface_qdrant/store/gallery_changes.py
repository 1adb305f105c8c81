"""A gallery after a change of its policy or its name. Pure."""

import dataclasses
from datetime import datetime

from sameface_qdrant.policy import changed_policy
from sameface_qdrant.values.gallery import Gallery, PolicyChanges


def changed_gallery(
    present: Gallery, policy: PolicyChanges, display_name: str | None, author: str, now: datetime
) -> Gallery:
    """Return a gallery after a change; the same object if nothing differs."""
    if "identify_threshold" in policy:
        # A threshold that was set by hand was not calibrated for a size.
        policy = PolicyChanges(**{"calibrated_size": None, **policy})
    wanted = changed_policy(present.policy, policy)
    changed = dataclasses.replace(present, display_name=present.display_name if display_name is None else display_name)
    if wanted != present.policy:
        revised = dataclasses.replace(wanted, revision=wanted.revision + 1, author=author, create_time=now)
        changed = dataclasses.replace(changed, policy=revised)
    return present if changed == present else dataclasses.replace(changed, update_time=now)
