"""Kernel modules: where each is, by evidence, and what that makes possible."""
