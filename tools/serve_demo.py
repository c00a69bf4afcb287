"""Shows a recogniser in the browser, with microphone or recordings; the base install and npm."""

import argparse
import sys
from pathlib import Path

from ser_nsl.edge import Recognizer
from ser_nsl.errors import InputError
from ser_nsl.web.litert import install_litert
from ser_nsl.web.server import PageServer

# Of this checkout, which can be written: `pip install .` copies the package elsewhere.
WEB = Path(__file__).resolve().parents[1] / "ser_nsl" / "web"

EPILOG = """\
Browsers give a page the microphone on localhost and by https only. From a phone:
  Android, by USB:  adb reverse tcp:8000 tcp:8000, then http://localhost:8000 on the phone
  any, by network:  --host 0.0.0.0 --certificate cert.pem --key key.pem, with a certificate that
                    the phone trusts (mkcert makes one)
Without either, recordings can still be opened. LiteRT.js is installed by npm when it is missing.
"""


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Serves a page that runs a recogniser on the device that opens it: from the "
        "microphone or a recording to the probability of each emotion. Nothing leaves that device, "
        "and no network is needed.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", type=Path, required=True, help="the .tflite file of tools/export_tflite.py"
    )
    parser.add_argument("--port", type=int, default=8000, help="0: any (default: 8000)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="0.0.0.0: reachable by others (default: 127.0.0.1)"
    )
    parser.add_argument("--certificate", type=Path, help="PEM file, for https")
    parser.add_argument("--key", type=Path, help="PEM file, if it is not in the certificate's")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        arguments = parse_arguments()
        Recognizer(arguments.model)  # before anything is installed for it
        install_litert(WEB)
        server = PageServer(**vars(arguments), packages=WEB / "node_modules")
    except InputError as error:
        sys.exit(f"error: {error}")
    print(f"the page is at {server.address} (Ctrl+C ends it)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("ended", file=sys.stderr)
    finally:
        server.server_close()
