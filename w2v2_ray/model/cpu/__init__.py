"""Faster ways, on a CPU, to what torch would compute: the modules of `model/` take them where they can.

Each gives the values that the module would give otherwise, within rounding (and, for dropout, other draws of the same
probability). Nothing here runs on a GPU or when a graph is traced.
"""
