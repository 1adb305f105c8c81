"""Which samples are skilled forgeries, told by their names. Pure.

Signatures are kept as ``<signer>/genuine/<image>`` and ``<signer>/forgery/<image>``. A forgery is filed under the
signer whom it imitates. It is no sample of that signer: mated with the genuine ones, it would count as an error of
the model.
"""

from collections.abc import Collection

FORGERY_FOLDERS = frozenset({"forgery", "forgeries", "forged"})
GENUINE_FOLDERS = frozenset({"genuine", "original", "originals"})
KINDS = FORGERY_FOLDERS | GENUINE_FOLDERS


def is_forgery(sample: str) -> bool:
    """Return whether a folder below the identity's says that a sample is a forgery; upper and lower case are the same.

    >>> is_forgery("ada/forgery/1.png"), is_forgery("ada/genuine/1.png"), is_forgery("forgery/1.png")
    (True, False, False)
    """
    return any(folder.lower() in FORGERY_FOLDERS for folder in sample.split("/")[1:-1])


def signer(identity: str) -> str:
    """Return the identity without the kind of its samples.

    >>> signer("ada/forgery"), signer("ada/genuine"), signer("Greek/alpha"), signer("forgery")
    ('ada', 'ada', 'Greek/alpha', 'forgery')
    """
    owner, _, kind = identity.rpartition("/")
    return owner if owner and kind.lower() in KINDS else identity


def kinds_alone(identities: Collection[str]) -> str:
    """Return what is wrong with a folder whose sub-folders are kinds of samples, and none of signers; else nothing.

    >>> kinds_alone(["forged", "Genuine"])[:50], kinds_alone(["forged", "ada"]), kinds_alone(["forged"])
    ('has the folders forged, genuine and none of signer', '', '')
    """
    names = {name.lower() for name in identities}
    if not (names <= KINDS and names & FORGERY_FOLDERS and names & GENUINE_FOLDERS):
        return ""
    return (
        f"has the folders {', '.join(sorted(names))} and none of signers; expected <signer>/genuine/<image> and "
        "<signer>/forgery/<image>, so that each forgery is filed under whom it imitates"
    )
