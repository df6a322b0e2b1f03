"""Customer events become rule firings, or the reason why not."""
