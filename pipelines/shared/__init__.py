"""What several task pipelines and their commands share."""
