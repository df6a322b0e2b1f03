"""HTTP in front of TrustLens: store webhooks become facts, Postgres becomes answers."""
