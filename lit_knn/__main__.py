"""``python -m lit_knn``."""

from lit_knn.cli.main import main

if __name__ == "__main__":
    main()
