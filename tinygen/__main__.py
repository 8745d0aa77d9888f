"""`python -m tinygen ...` is the command `tinygen ...`."""

import sys

if __name__ == "__main__":
    if sys.version_info < (3, 11):                      # said here, before anything newer is imported
        sys.exit("tinygen needs Python 3.11 or newer; this is %d.%d. Install a newer one and name it: "
                 "make setup PYTHON=python3.12" % sys.version_info[:2])
    try:
        from tinygen.cli import main
    except ModuleNotFoundError as missing:
        sys.exit("tinygen: %s is not installed: run `make setup` and use .venv/bin/python, or pip install -r "
                 "requirements.txt" % missing.name)
    sys.exit(main())
