"""A gallery after a change of its policy or its name. Pure."""

import dataclasses
from datetime import datetime

from sameface_qdrant.policy import revised_policy
from sameface_qdrant.values.gallery import Gallery, PolicyChanges


def changed_gallery(
    present: Gallery, policy: PolicyChanges, display_name: str | None, author: str, now: datetime
) -> Gallery:
    """Return a gallery after a change; the same object if nothing differs."""
    if "identify_threshold" in policy:
        # A threshold that was set by hand was not calibrated for a size.
        policy = PolicyChanges(**{"calibrated_size": None, **policy})
    wanted = revised_policy(present.policy, policy, author, now)
    changed = dataclasses.replace(present, display_name=present.display_name if display_name is None else display_name)
    changed = dataclasses.replace(changed, policy=wanted)
    return present if changed == present else dataclasses.replace(changed, update_time=now)
