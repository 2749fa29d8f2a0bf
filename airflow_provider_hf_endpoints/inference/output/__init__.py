"""From finished records to the files that a user reads: where they go, their form, and how they take their place."""
