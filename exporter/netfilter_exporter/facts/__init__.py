"""The facts of one scrape, each read on first use and at most once."""
