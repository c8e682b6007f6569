"""Names and numbers in words: measures, factors, conditions, values with their intervals. Draws nothing."""
