"""What `bin/dev`, `bin/test` and `bin/check` are made of: servers from wheels, child processes, readiness, printing.

Nothing of the product imports this package, and it imports nothing of the product but by starting it.
"""
