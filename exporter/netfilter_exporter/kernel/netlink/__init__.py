"""Netlink: attributes in messages, messages over a socket, requests with a deadline."""
