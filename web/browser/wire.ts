// Stands between browser and server, and breaks their connections as networks do.

import type { AddressInfo } from "node:net";
import { connect, createServer, type Server, type Socket } from "node:net";

export class Wire {
  private readonly sockets = new Set<Socket>();
  private mode: "pass" | "mute" | "busy" = "pass";
  private retryAfterS = 0;
  /** How often it was refused, since it was busy. */
  refused = 0;

  private constructor(
    private readonly server: Server,
    public target: string,
  ) {}

  static async start(target: string): Promise<Wire> {
    const server = createServer();
    const wire = new Wire(server, target);
    server.on("connection", (socket) => wire.accept(socket));
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    return wire;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Closes all connections at once. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  /** Takes connections, and answers 503 to all requests: they are to wait so long. */
  busy(retryAfterS: number): void {
    this.mode = "busy";
    this.retryAfterS = retryAfterS;
    this.refused = 0;
    this.cut();
  }

  /** Lets nothing through any more, and says nothing of it. */
  mute(isMute: boolean): void {
    this.mode = isMute ? "mute" : "pass";
    for (const socket of this.sockets) {
      if (isMute) socket.pause();
      else socket.destroy();
    }
  }

  /** Passes everything on, as at the start. */
  heal(): void {
    this.mode = "pass";
    this.cut();
  }

  stop(): void {
    this.cut();
    this.server.close();
  }

  private accept(socket: Socket): void {
    this.sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => this.sockets.delete(socket));
    if (this.mode === "busy") {
      this.refused += 1;
      const head = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n";
      socket.end(`${head}retry-after: ${this.retryAfterS}\r\n\r\n`);
      return;
    }
    const { hostname, port } = new URL(this.target);
    const upstream = connect(Number(port), hostname);
    upstream.on("error", () => socket.destroy());
    upstream.on("close", () => socket.destroy());
    socket.on("close", () => upstream.destroy());
    socket.pipe(upstream);
    upstream.on("data", (bytes) => {
      if (this.mode === "pass") socket.write(bytes);
    });
  }
}
