"""The page for phones and other browsers: a static folder with the model and all that it needs.

``page/`` holds its sources: HTML, CSS and JavaScript modules without dependencies.
"""
