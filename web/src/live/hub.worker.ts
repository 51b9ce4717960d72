// The hub as a SharedWorker: one for all tabs of this server.

import { Hub } from "./hub";

const hub = new Hub();

declare const self: { onconnect: (event: MessageEvent) => void };

self.onconnect = (event) => {
  const port = event.ports[0]!;
  hub.join(port);
  port.start();
};
