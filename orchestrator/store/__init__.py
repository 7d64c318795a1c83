"""What the orchestrator must not forget: jobs, their events, queues, tokens, and who did what."""
