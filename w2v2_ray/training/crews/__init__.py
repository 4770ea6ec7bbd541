"""How the workers of a run work together: a group that is fixed until it is started anew, or a team that changes."""
