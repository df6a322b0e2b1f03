"""What the system survives: faults in a seeded order under a steady load, and books kept outside of it."""
