"""What crosses the wire between the TrustLens services, and their process plumbing."""
