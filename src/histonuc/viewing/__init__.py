"""`histonuc view`: every nucleus of a slide in the browser. The server, and the page it hands out.

The functions here are the Python API, and what the server calls: `OpenResult` opens a result,
`count_density`, `count_histogram`, `count_classes` and `read_square` read it.
"""
