"""The configuration file: its form, its reading and reloading, and how the last reload went."""
