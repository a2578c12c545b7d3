"""Users as flags name them: by name, or by number.

For the helper of network namespaces too, which imports little.
"""

from __future__ import annotations

import pwd


def uid_of(user: str) -> int:
    """Return the number of a user; raises KeyError where there is none of that name."""
    is_number = user.isascii() and user.isdigit()
    return int(user) if is_number else pwd.getpwnam(user).pw_uid
