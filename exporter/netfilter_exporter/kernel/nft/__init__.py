"""The nftables ruleset as the kernel gives it over netlink, made into the model of `rules`."""
