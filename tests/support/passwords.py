"""Passwords as a web configuration and a request have them."""

from __future__ import annotations

import base64

import bcrypt


def hashed(password: str, cost: int = 4) -> str:
    """Return the bcrypt hash of a password."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def basic(user: str, password: str) -> str:
    """Return an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
