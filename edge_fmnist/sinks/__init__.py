"""Where results go: a browser page, a window, files, a status line."""
