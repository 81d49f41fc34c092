"""Numbers, then drawing, then text: what a sweep or a table says."""
