"""The SQL of what the API reads. Every table here is written by another service."""
