"""What the zoo has to do with the Hub: uploads, the code that goes with them, and errors in one line.

`errors` explains why a name does not load, `upload` pushes a folder, `standalone` writes the code of public classes as
files that work where avzoo is not installed.
"""
