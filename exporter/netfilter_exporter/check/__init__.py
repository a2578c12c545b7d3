"""What is broken on this host now, why, and what to do: the alerts' conditions, on the spot.

Facts in, findings out. Nothing here runs a command or changes anything: it prints commands.
"""
