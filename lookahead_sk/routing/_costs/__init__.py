"""What a call costs: utility, budget, fallback, and cost weights with a certificate."""
