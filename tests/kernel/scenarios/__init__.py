"""Scenarios: one file each. A name that begins with an underscore is shared by several."""
