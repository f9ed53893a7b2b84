"""Services: the worker, the beat and everything `up` keeps running; whether they live."""
