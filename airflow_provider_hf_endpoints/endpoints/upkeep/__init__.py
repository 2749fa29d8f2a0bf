"""Looking after what runs: which hardware there is, who still uses an endpoint, and releasing what nobody needs."""
