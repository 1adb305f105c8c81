"""The store and attached collections for programs without asyncio: each call waits for its answer.

Methods and resources are those of the asynchronous ones.

>>> import numpy as np
>>> from sameface_qdrant import Contract, NewTemplate, Policy, Probe
>>> from sameface_qdrant.blocking import Store
>>> voices = Contract("voices", version=1, sha256="0" * 64, dimension=4, preprocessing="none")
>>> with Store.open(":memory:") as store:
...     gallery = store.galleries.create("staff", voices, policy=Policy(verify_threshold=0.8))
...     stored = store.enroll("staff", "ada", [NewTemplate(np.array([1.0, 0.0, 0.2, 0.0]), voices)])
...     decision = store.verify("staff", "ada", Probe(np.array([0.9, 0.1, 0.2, 0.0]), voices))
>>> decision.outcome.value, round(decision.score, 3)
('MATCH', 0.994)

Each store runs an event loop in its own thread. So many threads may use one store, and it works where a loop is already
running (Jupyter). It raises the same errors as the asynchronous store.

Each method is one line here, ``verify = waiting(aio.Store.verify)``. It has the parameters and the result of the
coroutine, for ``help()`` and for type checkers. ``__getattr__`` would lose the types; full definitions would repeat
every signature.
"""

from sameface_qdrant.blocking.attached import Attached, attach
from sameface_qdrant.blocking.store import Erasures, Galleries, Identities, Store, Templates

__all__ = ["Attached", "Erasures", "Galleries", "Identities", "Store", "Templates", "attach"]
