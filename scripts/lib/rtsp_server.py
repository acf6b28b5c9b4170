#!/usr/bin/env python3
"""An RTSP server that plays one tone, to each who asks: rtsp_server.py ADDRESS PATH

Says "ready" when it listens on port 554. Wants Debian's own Python, which has the bindings of
GStreamer's server.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PORT = "554"
TONE = "audiotestsrc is-live=true ! audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay"


def main(address, path):
    Gst.init(None)
    tone = GstRtspServer.RTSPMediaFactory()
    tone.set_launch(f"( {TONE} name=pay0 pt=8 )")
    server = GstRtspServer.RTSPServer()
    server.set_address(address)
    server.set_service(PORT)
    server.get_mount_points().add_factory(path, tone)
    if not server.attach(None):
        raise SystemExit(f"{address} port {PORT} cannot be listened on")
    print("ready", flush=True)
    GLib.MainLoop().run()


main(*sys.argv[1:])
