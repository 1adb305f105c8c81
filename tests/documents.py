"""The blocks of code in the documents."""

import re

BLOCK = re.compile(r"(?P<note><!-- not run: [^\n]+ -->\n)?```(?P<language>\w*)\n(?P<code>.*?)```", re.S)
ADDRESS = "127.0.0.1:50051"
"""Where the documents' examples expect the service."""
