// The live stream from the aggregator: messages in, and whether they still come.
//
// The board speaks at least every 5 s, so silence for SILENCE_MS means that what is on the page may be wrong, whatever
// the browser thinks of the connection.

const SILENCE_MS = 8000;
const RETRY_MS = 2000;

export class NowStream {
  #source = null;
  #lastMessage = performance.now();
  #onMessage;

  constructor(onMessage) {
    this.#onMessage = onMessage;
  }

  open() {
    this.#source?.close();
    const source = new EventSource("/api/v1/now/stream");
    this.#source = source;
    for (const kind of ["snapshot", "delta", "heartbeat"]) {
      source.addEventListener(kind, (message) => {
        this.#lastMessage = performance.now();
        this.#onMessage(kind, JSON.parse(message.data));
      });
    }
    // The browser reconnects by itself after a lost connection, but gives up for good after an error answer.
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) setTimeout(() => this.open(), RETRY_MS);
    });
  }

  // Nothing came for so long that something is wrong.
  get silent() {
    return performance.now() - this.#lastMessage > SILENCE_MS;
  }

  get lost() {
    return this.silent || this.#source?.readyState !== EventSource.OPEN;
  }
}
