"""Readers of the kernel: one file for each of its interfaces.

A ``read`` knows paths and sockets, a ``parse`` knows bytes and nothing else. Neither knows
Prometheus. Every failure is a `ReadError` whose status says what kind of failure it is.
"""
