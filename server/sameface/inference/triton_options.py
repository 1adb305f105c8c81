"""Options of the channels to a Triton."""

CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Spread calls over all replicas behind a headless Service.
    ("grpc.lb_policy_name", "round_robin"),
    # Reconnect to a restarted server at once. gRPC's default is up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A replaced pod has a new address. gRPC looks the name up again when a connection is lost, but at most this often.
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # Give up a vanished host when it does not acknowledge a ping within the second of these times. The default is a
    # quarter of an hour. Pings are sent only during long calls, because Triton treats many pings as abuse.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
]
SOCKET_OPTIONS = [
    # No proxy ends these connections, and calls are repeated here. So gRPC need not keep them for that.
    ("grpc.enable_retries", 0),
    # Otherwise gRPC sends pings beside the answers, to find a window that fits the delay. Here there is none. The
    # largest answer, of the detector for 640×640 pixels, has half a megabyte.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1 << 20),
]
"""Further options for a Triton on a socket of this machine."""
