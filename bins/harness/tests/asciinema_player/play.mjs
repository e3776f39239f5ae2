// Plays a cast to its end in asciinema's own player, without a browser, and prints what is on its
// screen then: {"size":[columns,rows],"markers":[[seconds,label]…],"duration":seconds,"lines":[…]}.
//
// usage: node play.mjs FOLDER CAST, where FOLDER has the player in its node_modules.
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, cast] = process.argv.slice(2);
const events = {};
const answers = new Map();
const waiting = new Map();

// The player's worker speaks by messages, as a worker of a browser does.
globalThis.onmessage = null;
globalThis.postMessage = (message) => {
  if (message.method === "onEvent") {
    const { name, event } = message.params;
    events[name] = event;
    waiting.get(name)?.(event);
  } else {
    answers.get(message.id)(message.result);
  }
};
const worker = "node_modules/asciinema-player/dist/worker.js";
await import(pathToFileURL(resolve(folder, worker)));
let last = 0;
const ask = (method, params) =>
  new Promise((answer) => {
    last += 1;
    answers.set(last, answer);
    globalThis.onmessage({ data: { id: last, method, params } });
  });
const event = (name) => new Promise((come) => waiting.set(name, come));

process.on("unhandledRejection", (error) => {
  console.error(`the player refuses the cast: ${error?.stack ?? error}`);
  process.exit(1);
});
const data = await readFile(cast, "utf8");
const parts = [{ data }, { preload: true, speed: 1 }];
await ask("new", parts);
for (const name of ["metadata", "resize", "seeked", "errored"]) {
  await ask("addEventListener", [name]);
}
const metadata = event("metadata");
const errored = event("errored");
await ask("init");
await Promise.race([metadata, errored]);
if (events.errored !== undefined) throw new Error("it cannot be read");
const seeked = event("seeked");
await ask("seek", "100%");
await seeked;
const changes = await ask("getChanges");
const lines = [...changes.lines.values()].sort((one, other) => one.id - other.id);
const text = (line) => line.segments.map((segment) => segment.text).join("");
const { cols, rows } = events.resize ?? events.metadata.size ?? {};
console.log(
  JSON.stringify({
    size: [cols, rows],
    markers: events.metadata.markers,
    duration: events.metadata.duration,
    lines: lines.map((line) => text(line).trimEnd()),
  }),
);
process.exit(0);
