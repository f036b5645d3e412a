"""Attacks on the grader, each a real submission of 03-vjp among honest neighbours."""
