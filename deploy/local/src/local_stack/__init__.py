"""Postgres, RabbitMQ and the four services on one machine, without Docker."""
