"""Who may ask: API keys, and what was used of quotas."""
