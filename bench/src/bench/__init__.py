"""How fast scorer and dispatcher are: scenarios that are measured on a Postgres and a RabbitMQ of their own."""
