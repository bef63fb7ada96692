"""`python -m resnext`, and the `resnext` command."""

import os
import sys
import warnings

_OUT_OF_MEMORY = "out of memory; a smaller micro-batch, batch_size, image.size or model needs less"


def main() -> None:
    """Run the command line; turn what a user can mend into one sentence and a status.

    Status 2: something given cannot be used. 1: the job failed. 130: interrupted, 143: terminated; training has then
    left a checkpoint. `RESNEXT_TRACEBACK=1` shows the traceback instead.
    """
    from resnext.cli.app import app  # noqa: PLC0415 - keeps `import resnext.__main__` light

    warnings.filterwarnings("ignore", module="PIL")  # what Pillow warns of, our own messages say
    try:
        app()
    except (ValueError, ArithmeticError, OSError) as error:
        if os.environ.get("RESNEXT_TRACEBACK"):
            raise
        # What one process of many finds wrong with its arguments, all do, and one says it.
        if isinstance(error, OSError) or os.environ.get("RANK", "0") == "0":
            print(f"Error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ValueError) else 1)
    except (MemoryError, RuntimeError) as error:
        from resnext.model.device import is_out_of_memory  # noqa: PLC0415 - whatever raised it has loaded torch

        if os.environ.get("RESNEXT_TRACEBACK") or not is_out_of_memory(error):
            raise
        said = str(error) if isinstance(error, MemoryError) else ""
        print(f"Error: {said or _OUT_OF_MEMORY}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
