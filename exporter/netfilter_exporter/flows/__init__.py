"""What a sample of the flow table proves: which new connections are translated and answered."""
