"""Facts in, explained trust scores and customer events out."""
