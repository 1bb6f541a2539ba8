"""The plain way to show a topic in browsers: one aiohttp process, and a queue for each viewer.

Every record goes to every viewer, as a WebSocket message of 4 bytes of length, a JSON object and the record's value. The
value is passed on as it is, which is less work than taking the picture out of it.
"""

import argparse
import asyncio
import json
import struct
from pathlib import Path

from aiohttp import web
from aiokafka import AIOKafkaConsumer, TopicPartition


async def read(servers: str, topic: str, viewers: set[asyncio.Queue[bytes]]) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers,
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_partition_fetch_bytes=8 << 20,
    )
    await consumer.start()
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    await consumer.seek_to_end(partition)
    async for record in consumer:
        headers = dict(record.headers)
        says = {
            "sequence": int(headers["framelane-sequence"]),
            "capture_time_unix_ns": record.timestamp * 1_000_000,
        }
        head = json.dumps(says, separators=(",", ":")).encode()
        message = struct.pack(">I", len(head)) + head + record.value
        for viewer in viewers:
            viewer.put_nowait(message)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--port-file", type=Path, required=True)
    options = parser.parse_args()
    viewers: set[asyncio.Queue[bytes]] = set()

    async def watch(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        viewers.add(queue)
        try:
            while True:
                await socket.send_bytes(await queue.get())
        finally:
            viewers.discard(queue)
        return socket

    app = web.Application()
    app.router.add_get("/ws", watch)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    unfinished = options.port_file.with_suffix(".unfinished")
    unfinished.write_text(f"{host}:{port}\n")
    unfinished.rename(options.port_file)
    await read(options.bootstrap_servers, options.topic, viewers)


asyncio.run(main())
