"""Events and rule actions become signed deliveries, made, recorded and retried."""
