/**
 * Decoding of the server's binary replies (HNV1): a JSON header, then arrays that need no copy.
 * @module
 */

/** @typedef {import("./types.js").Numbers} Numbers */

const KINDS = {
  u8: Uint8Array,
  u16: Uint16Array,
  u32: Uint32Array,
  i16: Int16Array,
  f32: Float32Array,
};

/**
 * @typedef {object} Reply
 * @property {Record<string, any>} header what the header says, without the arrays
 * @property {Record<string, Numbers>} arrays the arrays by name, views of the buffer
 */

/**
 * Read a binary reply.
 * @param {ArrayBuffer} buffer the whole reply
 * @returns {Reply}
 * @throws {Error} the bytes are something else
 */
export function decode(buffer) {
  const bytes = new Uint8Array(buffer);
  if (new TextDecoder().decode(bytes.subarray(0, 4)) !== "HNV1") {
    throw new Error("The server sent something that this page cannot read; reload the page.");
  }
  const size = new DataView(buffer).getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + size)));
  /** @type {Record<string, Numbers>} */
  const arrays = {};
  for (const { name, type, length, offset } of header.arrays) {
    const kind = KINDS[/** @type {keyof typeof KINDS} */ (type)];
    arrays[name] = new kind(buffer, 8 + size + offset, length);
  }
  return { header, arrays };
}
