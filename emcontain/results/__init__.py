"""From logs to what is read: records, summaries, tables."""
