"""The trustlens command."""
