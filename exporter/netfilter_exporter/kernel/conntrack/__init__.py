"""Connection tracking: its statistics, its entries, its hooks, and the probe that proves it."""
