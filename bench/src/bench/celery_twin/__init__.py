"""What runs in an environment of its own, with Celery and without us."""
