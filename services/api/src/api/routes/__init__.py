"""The paths of the API, one module per resource."""

BASE = "/wp-json/trustlens/v1"
"""What all of them begin with."""
