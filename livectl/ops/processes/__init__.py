"""Processes of livectl's own: started, kept running, found in the background, ended in order."""
