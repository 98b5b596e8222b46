"""report.html: what a training did, in one file that a browser opens by itself. Light: it needs no torch."""
