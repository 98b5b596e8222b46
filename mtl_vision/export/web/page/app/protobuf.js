/** The few lines of protobuf that an ONNX file's metadata need: JavaScript's onnxruntime does not give them. */

const METADATA_PROPS = 14; // of ModelProto; each entry has 1: key, 2: value
const VARINT = 0, EIGHT = 1, BYTES = 2, FOUR = 5; // wire types

/** The fields of a message: [number, bytes] of those that hold bytes. Throws RangeError where the bytes are none. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    for (let value = 0, scale = 1; at < bytes.length; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
    throw new RangeError("the file ends too early");
  };
  while (at < bytes.length) {
    const tag = varint(), type = tag % 8;
    const length = { [VARINT]: 0, [EIGHT]: 8, [FOUR]: 4, [BYTES]: -1 }[type];
    if (length === undefined) throw new RangeError("the file is no protobuf");
    const size = length >= 0 ? (type === VARINT ? (varint(), 0) : length) : varint();
    if (at + size > bytes.length) throw new RangeError("the file ends too early");
    if (type === BYTES) yield [Math.floor(tag / 8), bytes.subarray(at, at + size)];
    at += size;
  }
}

/** The metadata of an ONNX file's bytes: an object of texts. */
export function metadata(bytes) {
  const found = {}, text = new TextDecoder();
  for (const [number, entry] of fields(bytes)) {
    if (number !== METADATA_PROPS) continue;
    const { 1: key, 2: value } = Object.fromEntries(fields(entry));
    found[text.decode(key)] = text.decode(value);
  }
  return found;
}
