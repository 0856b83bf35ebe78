"""The search for networks that are accurate, quick and small: trained briefly, measured as written int8 files."""
