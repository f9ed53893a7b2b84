"""Knows the formats of Celery and kombu: keys, messages, remote control. Nothing else in livectl does."""
