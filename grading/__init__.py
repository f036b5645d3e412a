"""What an instructor runs. The only package that knows answers; no notebook imports it."""
