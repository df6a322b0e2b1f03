"""Reading a store through its own REST API: its past, and what its webhooks missed. A process of its own."""
