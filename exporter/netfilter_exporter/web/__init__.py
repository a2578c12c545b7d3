"""Serving: one event loop for all peers, one thread that collects, a fixed set of pages."""
