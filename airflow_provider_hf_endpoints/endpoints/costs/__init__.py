"""What an endpoint has cost and may cost: sums, budgets, and what asks before it spends.

Nothing here stops an endpoint: the release of one whose budget is spent is in `upkeep/`. The costs of runs are kept in
`hooks/`.
"""
