/**
 * Requests to the server of this page. The token travels in a header, never in an address.
 * @module
 */

import { decode, decodeAll } from "./protocol.js";

/** A reply that is an error, with the server's sentence and its word for the reason. */
export class ServerError extends Error {
  /**
   * @param {string} message one sentence for people
   * @param {number} status HTTP status
   * @param {string} word reason: "damaged", "missing", …; empty where there is none
   */
  constructor(message, status, word) {
    super(message);
    this.status = status;
    this.word = word;
  }
}

/**
 * Whether a request ended because the page did not want its answer any more.
 * @param {unknown} error what was thrown
 */
export const wasAborted = (error) => error instanceof DOMException && error.name === "AbortError";

/**
 * The requests that the page makes, with one token.
 * @param {string} token of the link that the terminal printed
 */
export function createApi(token) {
  /**
   * @param {string} path below /api/
   * @param {{body?: unknown, text?: string, signal?: AbortSignal, priority?: RequestPriority}} [options] body to post,
   *   what aborts it, and whether it goes before others
   * @returns {Promise<Response>}
   */
  async function request(path, { body, text, signal, priority } = {}) {
    const content = text ?? (body === undefined ? undefined : JSON.stringify(body));
    /** @type {Record<string, string>} */
    const headers = { Authorization: `Bearer ${token}` };
    if (content !== undefined) headers["Content-Type"] = "application/json";
    const method = content === undefined ? "GET" : "POST";
    /** @type {Response} */
    let response;
    try {
      response = await fetch(`/api/${path}`, { method, headers, body: content, signal, priority });
    } catch (error) {
      if (wasAborted(error)) throw error;
      throw new ServerError("The viewer has stopped. Start `histonuc view` again.", 0, "stopped");
    }
    if (response.ok) return response;
    const reply = await response.json().catch(() => ({}));
    const sentence = reply.error ?? `The server answered ${response.status}.`;
    throw new ServerError(sentence, response.status, reply.word ?? "");
  }

  return {
    request,
    /** @param {string} path @param {unknown} [body] @param {AbortSignal} [signal] @returns {Promise<any>} */
    json: async (path, body, signal) => (await request(path, { body, signal })).json(),
    /** @param {string} path @param {unknown} [body] @param {AbortSignal} [signal] */
    binary: async (path, body, signal) => decode(await (await request(path, { body, signal })).arrayBuffer()),
    /** Several replies in one. @param {string} path @param {AbortSignal} [signal] */
    binaries: async (path, signal) => decodeAll(await (await request(path, { signal })).arrayBuffer()),
    /** @param {string} path @param {AbortSignal} [signal] */
    picture: async (path, signal) => createImageBitmap(await (await request(path, { signal })).blob()),
  };
}

/** @typedef {ReturnType<typeof createApi>} Api */

/**
 * A function that runs an asynchronous task, and aborts the one before if it is still running.
 * Errors are given to `report`, except those of aborted tasks.
 * @param {(error: Error) => void} report shows an error
 */
export function latest(report) {
  /** @type {AbortController|null} */
  let running = null;
  /** @param {(signal: AbortSignal) => Promise<void>} task @param {number} [delay] milliseconds to wait first */
  return async (task, delay = 0) => {
    running?.abort();
    const controller = (running = new AbortController());
    try {
      if (delay) await new Promise((resolve) => setTimeout(resolve, delay));
      if (!controller.signal.aborted) await task(controller.signal);
    } catch (error) {
      if (!wasAborted(error)) report(/** @type {Error} */ (error));
    }
  };
}
