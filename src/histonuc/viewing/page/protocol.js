/**
 * Decoding of the server's binary replies (HNV1): a JSON header, then arrays that need no copy.
 * @module
 */

/** @typedef {import("./types.js").Numbers} Numbers */

/** @typedef {typeof KINDS} KINDS */
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
 * The header of a reply, and where its arrays lie.
 * @param {ArrayBuffer} buffer replies, one after the other
 * @param {number} start where one begins
 * @returns {{header: Reply["header"], listed: {name: string, type: keyof KINDS, length: number, offset: number}[], data: number, end: number}}
 * @throws {Error} the bytes are something else
 */
function readHeader(buffer, start) {
  const bytes = new Uint8Array(buffer, start);
  if (new TextDecoder().decode(bytes.subarray(0, 4)) !== "HNV1") {
    throw new Error("The server sent something that this page cannot read; reload the page.");
  }
  const size = new DataView(buffer, start).getUint32(4, true);
  const { arrays: listed, ...header } = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + size)));
  const data = start + 8 + size;
  const last = listed.at(-1);
  const used = last ? last.offset + last.length * KINDS[/** @type {keyof KINDS} */ (last.type)].BYTES_PER_ELEMENT : 0;
  return { header, listed, data, end: data + Math.ceil(used / 8) * 8 };
}

/**
 * Arrays that lie in a buffer.
 * @param {ReturnType<typeof readHeader>["listed"]} listed names, types and places
 * @param {ArrayBuffer} buffer the bytes
 * @param {number} data where the first begins
 */
function viewsOf(listed, buffer, data) {
  /** @type {Reply["arrays"]} */
  const arrays = {};
  for (const { name, type, length, offset } of listed) arrays[name] = new KINDS[type](buffer, data + offset, length);
  return arrays;
}

/**
 * Read a binary reply.
 * @param {ArrayBuffer} buffer the whole reply
 * @returns {Reply}
 * @throws {Error} the bytes are something else
 */
export function decode(buffer) {
  const { header, listed, data } = readHeader(buffer, 0);
  return { header, arrays: viewsOf(listed, buffer, data) };
}

/**
 * Read several replies that came as one, each into a buffer that can go without the others.
 * @param {ArrayBuffer} buffer the replies, one after the other
 * @returns {Reply[]}
 * @throws {Error} the bytes are something else
 */
export function decodeAll(buffer) {
  /** @type {Reply[]} */
  const found = [];
  for (let start = 0; start < buffer.byteLength;) {
    const { header, listed, data, end } = readHeader(buffer, start);
    found.push({ header, arrays: viewsOf(listed, buffer.slice(data, end), 0) });
    start = end;
  }
  return found;
}
