"""The variants that are timed side by side.

``edge`` needs the base install, ``floats`` the extra ``[export]``, ``peers`` the extra ``[peers]``.
"""
