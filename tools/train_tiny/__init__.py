"""Train the embedded model ``tiny``; not part of the package."""
