"""From event to commitment to site budgets."""
