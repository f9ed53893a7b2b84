"""Finds what is wrong with an app: collects facts once, and checks them into findings with evidence and cure."""
