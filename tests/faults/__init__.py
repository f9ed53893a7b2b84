"""The fault matrix: each row does one kind of harm to real processes, and counts what came of it.

`make faults` plays every row in each of its set-ups and prints the table; the tests of this folder play the short form.
"""
