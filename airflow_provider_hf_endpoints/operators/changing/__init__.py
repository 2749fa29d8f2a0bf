"""What changes an endpoint that is there, and starts none: update, pause, scale to zero, delete."""
