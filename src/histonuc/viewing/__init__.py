"""`histonuc view`: every nucleus of a slide in the browser. The server, and the page it hands out.

What the server answers with are functions for Python as well: `opened.open_result` opens a result,
and `density`, `regions`, `listing` and `squares` count, list and read its nuclei. Nothing is
imported here, so that the link appears at once.
"""
