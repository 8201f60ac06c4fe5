"""The pages, one a file; each has `show(actor, project)`."""
