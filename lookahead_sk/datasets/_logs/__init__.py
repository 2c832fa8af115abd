"""Logs of calls: files to rows, rows to calls, calls to a score table."""
