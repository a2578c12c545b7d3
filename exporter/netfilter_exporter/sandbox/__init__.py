"""What the process gives up before it serves, so that whoever owns it gains little."""
