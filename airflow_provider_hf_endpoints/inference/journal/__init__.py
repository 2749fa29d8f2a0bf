"""What is durable of a running batch: records of finished rows, the output's lock, and what a resume reads of them."""
