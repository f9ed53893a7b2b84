"""All workers and queues of one app, and whether they are well."""
