"""A scripted OpenAI-compatible server over a real socket, for tests and benchmarks.

In a test: `async with scripted_upstream() as upstream:` gives `upstream.base_url` and `upstream.journal`.
As a process: `python -m tests.upstream.server --port N`. What it can be told is in `tests.upstream.script`.
"""
