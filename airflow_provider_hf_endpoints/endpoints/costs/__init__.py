"""What an endpoint has cost and may cost: sums, budgets, and what asks before it spends."""
