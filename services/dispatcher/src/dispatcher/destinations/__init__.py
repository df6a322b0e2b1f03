"""What a delivery looks like to each kind of receiver."""
