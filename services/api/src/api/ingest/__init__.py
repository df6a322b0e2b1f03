"""What stores send, turned into facts."""
