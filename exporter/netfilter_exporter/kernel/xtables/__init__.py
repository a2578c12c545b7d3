"""The tables of legacy iptables as getsockopt gives them, made into the model of `rules`."""
