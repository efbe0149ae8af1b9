"""Makes the site: reference pages from code and data, and a check of the finished pages."""
