"""The page that runs a recogniser in a browser, phones included, and its server."""
