"""Sysctls: their values, their names, and what sysctl.d sets them to."""
