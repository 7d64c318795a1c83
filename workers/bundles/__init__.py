"""What a job's folder travels as, and how it is unpacked where the job runs; see `orchestrator.bundles`."""
