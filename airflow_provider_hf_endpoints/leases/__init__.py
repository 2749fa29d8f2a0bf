"""Who uses an endpoint, so that the last one to leave switches it off."""
