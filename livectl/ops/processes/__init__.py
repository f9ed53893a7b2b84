"""Starts processes and keeps them running: command lines, supervision, the embedded broker, the state directory."""
