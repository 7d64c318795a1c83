"""What is known of a job: its status, where its seconds went, its history; folded from what is heard."""
