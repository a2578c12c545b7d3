"""What is known of the host's other network namespaces, sampled off the scrape path."""
