"""The network namespaces of the host: which there are, how they are called, what each tracks."""
