"""Asks and commands the workers of an app, and measures and purges its queues."""
