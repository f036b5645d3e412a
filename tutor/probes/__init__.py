"""The questions that exercises ask: one module per assignment, none of which knows an answer."""
