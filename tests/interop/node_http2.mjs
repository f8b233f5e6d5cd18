// WebSockets over HTTP/2 with node's own http2: `server`, which echoes and prints its port, or
// `client URL COUNT SIZE`, which opens so many on one connection, sends each a message of so
// many bytes, and prints what came back and how it was closed.
import http2 from "node:http2";

function frame(opcode, payload, masked) {
  const size = payload.length;
  const length =
    size < 126 ? [size] : size < 65536 ? [126, size >> 8, size & 255]
    : [127, 0, 0, 0, 0, size >>> 24, (size >> 16) & 255, (size >> 8) & 255, size & 255];
  if (masked) length[0] |= 128;
  // A key of zeros leaves the payload as it is.
  return Buffer.concat([Buffer.from([128 | opcode, ...length, ...(masked ? [0, 0, 0, 0] : [])]), payload]);
}

function onFrames(stream, take) {
  let buffer = Buffer.alloc(0);
  stream.on("data", (data) => {
    buffer = Buffer.concat([buffer, data]);
    for (;;) {
      if (buffer.length < 2) return;
      let at = 2, size = buffer[1] & 127;
      if (size === 126) { if (buffer.length < 4) return; size = buffer.readUInt16BE(2); at = 4; }
      else if (size === 127) { if (buffer.length < 10) return; size = Number(buffer.readBigUInt64BE(2)); at = 10; }
      const masked = buffer[1] & 128;
      const key = masked ? buffer.subarray(at, at + 4) : null;
      if (masked) at += 4;
      if (buffer.length < at + size) return;
      const payload = Buffer.from(buffer.subarray(at, at + size));
      if (key) for (let i = 0; i < size; i++) payload[i] ^= key[i & 3];
      const opcode = buffer[0] & 15;
      buffer = buffer.subarray(at + size);
      take(opcode, payload);
    }
  });
}

function serve() {
  const server = http2.createServer({ settings: { enableConnectProtocol: true } });
  server.on("stream", (stream, headers) => {
    stream.on("error", () => {});
    if (headers[":method"] !== "CONNECT" || headers[":protocol"] !== "websocket") {
      stream.respond({ ":status": 404 }, { endStream: true });
      return;
    }
    if (headers[":path"] === "/forbidden") {
      stream.respond({ ":status": 403 });
      stream.end("not here");
      return;
    }
    stream.respond({ ":status": 200 });
    onFrames(stream, (opcode, payload) => {
      if (opcode === 8) { stream.end(frame(8, payload, false)); return; }
      stream.write(frame(opcode === 9 ? 10 : opcode, payload, false));
    });
  });
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
}

function connect(url, count, size) {
  const session = http2.connect(url, { rejectUnauthorized: false });
  const results = [];
  session.on("remoteSettings", (settings) => {
    if (!settings.enableConnectProtocol) throw new Error("no extended CONNECT");
    for (let i = 0; i < count; i++) {
      const stream = session.request({
        ":method": "CONNECT", ":protocol": "websocket", ":path": `/chat?${i}`,
        ":scheme": url.startsWith("https") ? "https" : "http", "sec-websocket-version": "13",
      }, { endStream: false });
      const result = { status: 0, size: 0, code: 0 };
      stream.on("response", (headers) => {
        result.status = headers[":status"];
        stream.write(frame(2, Buffer.alloc(size, i), true));
      });
      onFrames(stream, (opcode, payload) => {
        if (opcode === 2) {
          if (payload.every((byte) => byte === i)) result.size = payload.length;
          stream.write(frame(8, Buffer.from([0x0f, 0xa0 + i]), true));
        } else if (opcode === 8) {
          result.code = payload.readUInt16BE(0);
        }
      });
      stream.on("end", () => {
        stream.end();
        if (results.push(result) === count) { session.close(); console.log(JSON.stringify(results)); }
      });
    }
  });
}

const [, , role, url, count, size] = process.argv;
if (role === "server") serve(); else connect(url, Number(count), Number(size));
