"""Reports to Prometheus when Linux connection tracking or NAT has silently stopped working."""

__version__ = "0.1.0"
