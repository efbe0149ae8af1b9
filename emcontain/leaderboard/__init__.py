"""The leaderboard: submissions in, checked numbers stored, ranges of ranks out. Reads only what results derive."""
