"""How fast the scorer is: scenarios that are measured on a Postgres and a RabbitMQ of their own."""
