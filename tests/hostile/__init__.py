"""A hostile world for batches: odd rows, odd answers, servers and stores that fail, all mixed by a generator.

`cases` says what a world is made of, `world` runs a batch in it on a simulated clock, `invariants` says what has to
hold afterwards whatever happened.
"""
