"""CVAT: functions for its command line (``cvat-cli``), and the gateway that its server talks to.

`detection`, `interaction` and `tracking` are function modules for ``cvat-cli``, which need the
package cvat-sdk and no server of ours. `gateway` is part of a server.
"""
