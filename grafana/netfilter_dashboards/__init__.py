"""The two dashboards, as a program: what they ask, how they show it, where it stands."""
