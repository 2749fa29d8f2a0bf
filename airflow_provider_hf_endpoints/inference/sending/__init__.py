"""The running batch: which row is sent next, what its answer means, and when it is sent again. How many at once is in
`limit/`, the exchange itself in `http/`."""
