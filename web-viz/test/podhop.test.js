// The browser's build writes what podhop writes, says what podhop says, and outlives what it is given.
//
//     cargo xtask wasm --test

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { Podhop, Trap } from "../src/podhop.js";

const root = new URL("../../", import.meta.url);
const read = (path) => readFileSync(new URL(path, root));
const podhop = new Podhop(await WebAssembly.compile(read("web-viz/generated/podhop.wasm")));

const SAME_NODE = "scenarios/labs/same-node-by-hand";

/** The files of a folder, by path. */
function folder(path) {
  const files = readdirSync(new URL(path, root), { withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(files.map(({ name }) => [`${path}/${name}`, read(`${path}/${name}`)]));
}

/** tests/digests.txt: its lines, by the folder of the scenario. */
function committed() {
  const scenarios = new Map();
  for (const line of read("tests/digests.txt").toString().trimEnd().split("\n")) {
    const [path] = line.match(/scenarios\/[^/]+\/[^/]+/);
    scenarios.set(path, [...(scenarios.get(path) ?? []), line]);
  }
  return scenarios;
}

/** What a run has written, as lines of tests/digests.txt. */
function digests(path, { outputs }) {
  const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
  return [...outputs].map(([name, bytes]) => `${sha256(bytes)}  ${path}/${name}`);
}

const run = (path, limits) => podhop.run(folder(path), `${path}/scenario.yaml`, limits);
const check = (text) => podhop.check(new Map([["s.yaml", text]]), "s.yaml");

const EXPECTED = committed();
assert(EXPECTED.has(SAME_NODE));

test("the same bytes as everywhere", async (t) => {
  for (const [path, expected] of EXPECTED) {
    await t.test(path, () => {
      const done = run(path);
      assert.deepEqual([done.exit, digests(path, done)], [0, expected]);
      const told = Object.entries(done.summary.files).map(([name, { sha256 }]) => `${sha256}  ${path}/${name}`);
      assert.deepEqual(told, expected);
    });
  }
});

test("the same errors as everywhere", async (t) => {
  const files = folder("scenarios/errors");
  const large = "scenarios/errors/too-large.yaml";
  const size = 17 * 2 ** 20;
  files.set(large, new Uint8Array(size));
  for (const [path] of [...files].filter(([path]) => path.endsWith(".yaml"))) {
    await t.test(path, () => {
      let text = files.get(path.replace(/yaml$/, "stderr")).toString();
      if (path === large) {
        text = text.replace("--> FILE", `--> ${large}`).replace("104857600", size);
      }
      const found = podhop.check(files, path);
      const exit = text.startsWith("warning") ? 0 : 2;
      assert.deepEqual([found.exit, found.text], [exit, text]);
      for (const { severity, file, line, column, message } of found.diagnostics) {
        assert(text.includes(`${severity}: ${message}\n`), message);
        assert(text.includes(path === large ? file : `--> ${file}:${line}:${column}\n`), message);
      }
      assert.equal(found.diagnostics.length, text.match(/^(error|warning): /gm).length);
      const { outputs, summary, ...ran } = podhop.run(files, path);
      assert.deepEqual([ran, outputs.size > 0, summary !== undefined], [found, exit === 0, exit === 0]);
    });
  }
});

test("a scenario that is fine", () => {
  const path = `${SAME_NODE}/scenario.yaml`;
  assert.deepEqual(podhop.check(folder(SAME_NODE), path), { exit: 0, diagnostics: [], text: "" });
  // Text, and names that mean the same.
  assert.equal(podhop.check(new Map([["a.yaml", read(path).toString()]]), "./a.yaml").exit, 0);
});

test("hostile input is an error or a limit", () => {
  const head = "apiVersion: podhop/v1\nkind: Scenario\nmetadata: {name: x}\nspec:\n";
  const bytes = Uint8Array.from({ length: 100_000 }, (_, n) => (n * n * 31) >> 3);
  const namespaces = Array.from({ length: 100_000 }, (_, n) => `    n${n}: {}\n`).join("");
  for (const [what, text] of [
    ["nothing", ""],
    ["no text", bytes],
    ["zeros", new Uint8Array(2 ** 20)],
    ["a deep list", "[".repeat(200_000)],
    ["a deep map", "{a: ".repeat(200_000)],
    ["deep blocks", Array.from({ length: 2_000 }, (_, n) => `${" ".repeat(n)}a:\n`).join("")],
    ["deep filters", `${head}  namespaces: {a: {}}\n  expect: [{capture: a/any, count: 0, filter: "${"(".repeat(100_000)}"}]\n`],
    ["many namespaces", `${head}  namespaces:\n${namespaces}`],
    ["a long line", `${head}  namespaces: {a: {setup: ["ip link add ${"x".repeat(2 ** 20)}"]}}\n`],
  ]) {
    assert.equal(check(text).exit, 2, what);
  }
  assert.throws(() => check(new Uint8Array(65 * 2 ** 20)), RangeError);
  assert.match(podhop.run(new Map(), "s.yaml", { hours: 1 }).error, /^the request is wrong: unknown field `hours`/);
  assert.match(podhop.check(new Map(), "s.yaml").text, /^error: the file cannot be read: there is none\n/);

  // A storm that its scenario lets go on for ever, and one that writes too much.
  const storm = "scenarios/labs/l2-loop";
  const path = `${storm}/scenario.yaml`;
  const text = read(path).toString();
  assert(text.includes("chainFrames: 2000"));
  const files = new Map([[path, text.replace("chainFrames: 2000", "chainFrames: 1000000000000000")]]);
  const stopped = podhop.run(files, path, { chainFrames: 5000 });
  assert.deepEqual([stopped.summary.limit.name, stopped.summary.limit.limit], ["chainFrames", 5000]);
  const full = podhop.run(files, path, { chainFrames: 5000, outputBytes: 10_000 });
  assert.deepEqual([full.exit, full.error], [3, "limit outputBytes: the outputs of the run take more"]);

  assert.deepEqual(digests(SAME_NODE, run(SAME_NODE)), EXPECTED.get(SAME_NODE), "and then all is as before");
});

test("calls give back the memory that they take", () => {
  // More than there is, if they kept it.
  const files = new Map([["s.yaml", new Uint8Array(60 * 2 ** 20)]]);
  for (let n = 0; n < 80; n++) {
    assert.equal(podhop.check(files, "s.yaml").exit, 2);
  }
});

test("a trap ends its instance and no more", () => {
  const name = (text) => [text.length, ...Buffer.from(text)];
  const section = (id, ...bytes) => [id, bytes.length, ...bytes];
  const function_ = (...code) => [code.length + 2, 0, ...code, 0x0b];
  // An instance that has been called makes no more buffers: (if (global.get 0) (then 0) (else 1024)).
  const alloc = function_(0x23, 0, 0x04, 0x7f, 0x41, 0, 0x05, 0x41, 0x80, 0x08, 0x0b);
  // (global.set 0 1) (call panicked 16 4) (unreachable)
  const check = function_(0x41, 1, 0x24, 0, 0x41, 16, 0x41, 4, 0x10, 0, 0x00);
  const run = function_(0x00);
  const bytes = Uint8Array.of(
    ...[0, ...Buffer.from("asm"), 1, 0, 0, 0],
    ...section(1, 2, 0x60, 2, 0x7f, 0x7f, 0, 0x60, 1, 0x7f, 1, 0x7f), // types: (i32 i32), (i32) -> i32
    ...section(2, 1, ...name("podhop"), ...name("panicked"), 0, 0), // imports
    ...section(3, 3, 1, 1, 1), // the types of the functions
    ...section(5, 1, 0, 1), // a page of memory
    ...section(6, 1, 0x7f, 1, 0x41, 0, 0x0b), // a global number
    ...section(7, 4, ...name("memory"), 2, 0, ...["alloc", "check", "run"].flatMap((f, n) => [...name(`podhop_${f}`), 0, n + 1])),
    ...section(10, 3, ...alloc, ...check, ...run),
    ...section(11, 1, 0, 0x41, 16, 0x0b, ...name("boom")), // at 16
  );
  const broken = new Podhop(new WebAssembly.Module(bytes));
  for (let n = 0; n < 2; n++) {
    assert.throws(() => broken.check(new Map(), "s.yaml"), new Trap("boom"));
  }
  assert.throws(() => broken.run(new Map(), "s.yaml"), (error) => error instanceof Trap && error.message !== "boom");
});
