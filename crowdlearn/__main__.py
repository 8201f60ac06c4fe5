"""`python -m crowdlearn` is the command `crowdlearn`."""

from crowdlearn.cli import main

if __name__ == "__main__":
    main()
