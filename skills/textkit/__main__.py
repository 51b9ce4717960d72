"""`python -m textkit` serves the skill on standard input and output."""

from textkit.server import server

if __name__ == "__main__":
    server.run("stdio")
