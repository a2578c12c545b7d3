"""Which of many keys occur more than once, without keeping the keys."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Hashable, Iterable


def repeated(keys: Iterable[Hashable]) -> Collection[int]:
    """Return the hashes that at least two of `keys` have: a key without it occurs once.

    The rules of a chain of 100 000 take 50 MB as keys of a dictionary, their hashes 4 MB.
    """
    hashes = sorted(map(hash, keys))
    following = itertools.islice(hashes, 1, None)
    return {one for one, other in zip(hashes, following) if one == other}
