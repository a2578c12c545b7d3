"""Draws a dashboard as SVG from its own queries. No substitute for Grafana, and not made by it."""
