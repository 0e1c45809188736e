"""An HTTP server: words, clicks, videos, a page, and the protocols of labelling tools.

``gsam serve`` starts it.  `gsam.serve.app.create_app` is the application, for other servers.
"""
