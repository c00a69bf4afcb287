"""The page that runs a recogniser in a browser, also on phones, and its server."""
