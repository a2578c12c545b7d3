"""NAT hits: how often each translating rule matched."""
