"""What a look at an endpoint means for somebody who waits, and who looks: one wait, or one poll for many."""
