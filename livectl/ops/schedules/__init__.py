"""schedules.yaml: how it is read, when its entries are due, and how it is imported and exported."""
