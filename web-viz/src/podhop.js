// podhop in WebAssembly: web-viz/wasm/src has the other side, and how bytes lie between the two.
//
// For browsers and Node. Calls are synchronous: a page makes them in a worker, which it ends if one takes too long.

/** A call ended in a trap: a bug of podhop, or there is no more memory or stack. The next call finds a new instance. */
export class Trap extends Error {
  name = "Trap";
}

/**
 * podhop, compiled.
 *
 * `files` are names with contents, as text or as bytes: the scenario and what lies beside it. `scenario` is the name of
 * one of them.
 */
export class Podhop {
  #module;
  #instance;
  #panic;

  /** @param {WebAssembly.Module} module what `cargo xtask wasm` has built */
  constructor(module) {
    this.#module = module;
  }

  /**
   * Finds every error in a scenario.
   *
   * @param {Map<string, string | Uint8Array>} files
   * @param {string} scenario
   * @returns {{exit: number, diagnostics?: object[], text?: string, error?: string}}
   */
  check(files, scenario) {
    return this.#call("podhop_check", { scenario }, files)[0];
  }

  /**
   * Runs a scenario.
   *
   * @param {Map<string, string | Uint8Array>} files
   * @param {string} scenario
   * @param {{chainFrames?: number, frames?: number, events?: number, outputBytes?: number}} limits that shall hold, too
   * @returns {{exit: number, summary?: object, diagnostics?: object[], text?: string, error?: string,
   *   outputs: Map<string, Uint8Array>}}
   */
  run(files, scenario, limits = {}) {
    const [reply, outputs] = this.#call("podhop_run", { scenario, limits }, files);
    return { ...reply, outputs: new Map(outputs) };
  }

  /** The reply to a request, and the files that come with it. */
  #call(name, request, files) {
    const reply = this.#exchange(name, bundle([["request", JSON.stringify(request)], ...files]));
    const [[, head], ...outputs] = unbundle(reply);
    return [JSON.parse(decoder.decode(head)), outputs];
  }

  /** Bytes in, bytes out. */
  #exchange(name, bytes) {
    this.#instance ??= new WebAssembly.Instance(this.#module, { podhop: { panicked: this.#panicked } });
    const { memory, podhop_alloc, podhop_free, [name]: call } = this.#instance.exports;
    // Addresses come as signed numbers.
    const request = podhop_alloc(bytes.length) >>> 0;
    if (request === 0) {
      throw new RangeError(`the scenario's files have ${bytes.length} bytes, which is too much`);
    }
    new Uint8Array(memory.buffer).set(bytes, request + LENGTH);
    this.#panic = undefined;
    try {
      const reply = call(request) >>> 0;
      const length = new DataView(memory.buffer).getUint32(reply, true);
      const copy = new Uint8Array(memory.buffer).slice(reply + LENGTH, reply + LENGTH + length);
      podhop_free(reply);
      return copy;
    } catch (error) {
      this.#instance = undefined;
      throw new Trap(this.#panic ?? error.message, { cause: error });
    }
  }

  #panicked = (at, length) => {
    const bytes = new Uint8Array(this.#instance.exports.memory.buffer, at >>> 0, length);
    this.#panic = decoder.decode(bytes);
  };
}

const LENGTH = 4;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Files as one piece: for each the lengths of its name and its content, then both. */
function bundle(files) {
  const encoded = files.map(([name, content]) => [
    encoder.encode(name),
    typeof content === "string" ? encoder.encode(content) : content,
  ]);
  const size = encoded.reduce((sum, [name, content]) => sum + 2 * LENGTH + name.length + content.length, 0);
  const bytes = new Uint8Array(size);
  const numbers = new DataView(bytes.buffer);
  let at = 0;
  for (const [name, content] of encoded) {
    numbers.setUint32(at, name.length, true);
    numbers.setUint32(at + LENGTH, content.length, true);
    bytes.set(name, at + 2 * LENGTH);
    bytes.set(content, at + 2 * LENGTH + name.length);
    at += 2 * LENGTH + name.length + content.length;
  }
  return bytes;
}

/** The files of a bundle, in order. */
function unbundle(bytes) {
  const numbers = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const files = [];
  for (let at = 0; at < bytes.length; ) {
    const name = at + 2 * LENGTH;
    const content = name + numbers.getUint32(at, true);
    const end = content + numbers.getUint32(at + LENGTH, true);
    files.push([decoder.decode(bytes.subarray(name, content)), bytes.subarray(content, end)]);
    at = end;
  }
  return files;
}
