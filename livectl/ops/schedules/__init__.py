"""schedules.yaml: read, checked, listed, compared, and told in other words."""
