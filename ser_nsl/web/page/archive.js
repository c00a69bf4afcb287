// Reads the zip archive that lies behind the flatbuffer of a .tflite file.

const END_OF_DIRECTORY = 0x06054b50;
const DIRECTORY_ENTRY = 0x02014b50;
const END_BYTES = 22;
const LONGEST_COMMENT = 0xffff;

/**
 * Reads the uncompressed texts of an archive.
 *
 * @param {Uint8Array} bytes A file that ends with a zip archive.
 * @returns {Map<string, string>} The entries by name.
 * @throws {RangeError} If there is no archive, or one that is cut off or compressed.
 */
export function readArchive(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = findEnd(view);
  const entries = new Map();
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    if (view.getUint32(at, true) !== DIRECTORY_ENTRY) throw new RangeError("damaged archive");
    if (view.getUint16(at + 10, true) !== 0) throw new RangeError("compressed archive");
    const size = view.getUint32(at + 24, true);
    const nameLength = view.getUint16(at + 28, true);
    const otherLength = view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
    const local = view.getUint32(at + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    entries.set(text(bytes, at + 46, nameLength), text(bytes, start, size));
    at += 46 + nameLength + otherLength;
  }
  return entries;
}

function findEnd(view) {
  const last = view.byteLength - END_BYTES;
  for (let at = last; at >= Math.max(0, last - LONGEST_COMMENT); at--) {
    if (view.getUint32(at, true) === END_OF_DIRECTORY) return at;
  }
  throw new RangeError("no archive");
}

function text(bytes, start, length) {
  if (start + length > bytes.length) throw new RangeError("archive is cut off");
  return new TextDecoder().decode(bytes.subarray(start, start + length));
}
