"""The orchestrator as a service: one loop between the database, the scheduler and the cluster."""
