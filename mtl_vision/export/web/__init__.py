"""The network in the browser: a static page of an exported model, as a folder or as one HTML file.

`page/` is the page's own source, plain HTML, CSS and ES modules that are served as they stand; no build step.
"""
