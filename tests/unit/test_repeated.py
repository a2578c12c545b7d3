"""rules/repeated.py."""

import collections

from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.rules.repeated import repeated


@given(st.lists(st.binary(max_size=2)))
def test_hashes_of_keys_that_occur_twice(keys):
    """Those of just the keys that occur more than once, whatever their order."""
    counts = collections.Counter(map(hash, keys))
    assert set(repeated(iter(keys))) == {value for value, count in counts.items() if count > 1}
