"""`python -m resnext`, and the `resnext` command."""

import os
import sys
import warnings


def main() -> None:
    """Run the command line; turn what a user can mend into one sentence and a status.

    Status 2: something given cannot be used. 1: the job failed. 130: interrupted. `RESNEXT_TRACEBACK=1` shows the
    traceback instead.
    """
    from resnext.cli.app import app  # noqa: PLC0415 - keeps `import resnext.__main__` light

    warnings.filterwarnings("ignore", module="PIL")  # what Pillow warns of, our own messages say
    try:
        app()
    except (ValueError, ArithmeticError, OSError) as error:
        if os.environ.get("RESNEXT_TRACEBACK"):
            raise
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ValueError) else 1)
    except (MemoryError, RuntimeError) as error:
        if os.environ.get("RESNEXT_TRACEBACK") or not _is_out_of_memory(error):
            raise
        print("Error: out of memory; a smaller batch_size, image.size or model needs less", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _is_out_of_memory(error: BaseException) -> bool:
    """Recognise what torch says where memory ends, on a GPU and on a CPU."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in said or "can't allocate memory" in said


if __name__ == "__main__":
    main()
