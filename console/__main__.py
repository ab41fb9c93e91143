"""`python -m console` is `edge-console`."""

from console.cli.main import main

if __name__ == "__main__":
    main()
