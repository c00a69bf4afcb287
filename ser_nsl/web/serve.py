"""The command `ser-nsl serve`."""

import sys
from pathlib import Path

from ser_nsl.edge import Recognizer
from ser_nsl.web.contents import offer_models
from ser_nsl.web.npm import install_packages
from ser_nsl.web.server import PageServer


def serve(
    *,
    model: str | None = None,
    port: int = 8000,
    host: str = "127.0.0.1",
    certificate: Path | None = None,
    key: Path | None = None,
) -> None:
    """Serves a page that runs recognisers on the device whose browser opens it.

    The page offers all recognisers of `ser-nsl models`. It shows the probability of each emotion
    in the microphone, or from start to end of a recording. No sound leaves the device, and no
    other server is needed; npm installs LiteRT.js at the first start. The page can be installed,
    and works on without this server.

    Browsers give a page the microphone on localhost and by https only. From an Android phone by
    USB, run `adb reverse tcp:8000 tcp:8000` and open http://localhost:8000 on the phone. From any
    device on the network, use --host 0.0.0.0 with a certificate that the device trusts (mkcert
    makes one). Recordings can be opened without either.

    Args:
        model: Recogniser to offer first: path of a `.tflite` file, or a name listed by `ser-nsl
            models`; everyone by default.
        port: Port to listen on; 0 takes a free one.
        host: Address to listen on; 0.0.0.0 lets other devices connect.
        certificate: PEM file with a certificate, for https.
        key: PEM file with the certificate's private key, unless the certificate's file holds it.

    Raises:
        InputError: If the recogniser, the certificate, the address or npm cannot be used.
    """
    offers = offer_models(model)
    Recognizer(offers[0].path)  # checks it, before anything is installed
    with PageServer(
        offers, install_packages(), host=host, port=port, certificate=certificate, key=key
    ) as server:
        print(f"the page is at {server.address} (Ctrl+C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("ended", file=sys.stderr)
