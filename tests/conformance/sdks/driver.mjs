// Speaks for the JavaScript SDKs: a JSON question a line comes in, a JSON answer a line goes out.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import process from "node:process";

const require = createRequire(`${process.cwd()}/`);

// svix and standardwebhooks have the same interface; Svix itself sends headers of its own name.
function webhook(module, name = "webhook") {
  const make = (secret) => new (require(module).Webhook)(secret);
  return {
    sign({ secret, id, body }) {
      const now = new Date();
      const signature = make(secret).sign(id, now, body);
      return {
        [`${name}-id`]: id,
        [`${name}-timestamp`]: String(Math.floor(now.getTime() / 1000)),
        [`${name}-signature`]: signature,
      };
    },
    verify: ({ secret, headers, body }) => void make(secret).verify(body, headers),
  };
}

const sdks = {
  stripe: {
    sign({ secret, body }) {
      const { default: Stripe } = require("stripe");
      return { "stripe-signature": Stripe.webhooks.generateTestHeaderString({ payload: body, secret }) };
    },
    verify({ secret, headers, body }) {
      const { default: Stripe } = require("stripe");
      Stripe.webhooks.signature.verifyHeader(body, headers["stripe-signature"], secret, 300);
    },
  },
  octokit: {
    async sign({ secret, body }) {
      const { sign } = await import("@octokit/webhooks-methods");
      return { "x-hub-signature-256": await sign(secret, body) };
    },
    async verify({ secret, headers, body }) {
      const { verify } = await import("@octokit/webhooks-methods");
      if (!(await verify(secret, body, headers["x-hub-signature-256"]))) throw new Error("verify says no");
    },
  },
  svix: webhook("svix"),
  svix_own: webhook("svix", "svix"),
  standardwebhooks: webhook("standardwebhooks"),
  cloudevents: {
    // Bodies are in base64; so is data that is no text, in an object of its own.
    make({ mode, attributes, data }) {
      const { CloudEvent, HTTP } = require("cloudevents");
      const bytes = data?.base64 === undefined ? data : new Uint8Array(Buffer.from(data.base64, "base64"));
      const { headers, body } = HTTP[mode](new CloudEvent({ ...attributes, data: bytes ?? undefined }));
      return { headers, body: Buffer.from(body ?? "").toString("base64") };
    },
    read({ headers, body }) {
      const { HTTP } = require("cloudevents");
      const bytes = Buffer.from(body, "base64");
      // As a web framework gives it: what is text as text, and nothing as such.
      const isText = /json|^text\//.test(headers["content-type"] ?? "");
      const given = bytes.length === 0 ? undefined : isText ? bytes.toString() : bytes;
      const { data, data_base64, ...attributes } = HTTP.toEvent({ headers, body: given }).toJSON();
      const binary = data_base64 ?? (Buffer.isBuffer(data) ? data.toString("base64") : undefined);
      return { attributes, data: binary === undefined ? (data ?? null) : { base64: binary } };
    },
  },
  // It fetches the certificate itself, and gets the one given here instead.
  sns: {
    verify({ secret, body }) {
      const { EventEmitter } = require("node:events");
      require("node:https").get = (_, answer) => {
        const response = Object.assign(new EventEmitter(), { statusCode: 200, setEncoding() {} });
        answer(response);
        response.emit("data", secret);
        response.emit("end");
        return new EventEmitter();
      };
      const Validator = require("sns-validator");
      return new Promise((resolve, reject) => {
        new Validator().validate(JSON.parse(body), (error, message) => (error ? reject(error) : resolve(message)));
      });
    },
  },
  github: { schemas, examples },
};

const definitions = () => require("@octokit/webhooks-schemas/schema.json").definitions;

// The names of the definitions that a schema leads to by its references.
function reached(root) {
  const found = new Set();
  const waiting = [root];
  const look = (value) => {
    if (value === null || typeof value !== "object") return;
    if (typeof value.$ref === "string") waiting.push(value.$ref.slice("#/definitions/".length));
    Object.values(value).forEach(look);
  };
  while (waiting.length > 0) {
    const name = waiting.pop();
    if (found.has(name)) continue;
    found.add(name);
    look(definitions()[name]);
  }
  return found;
}

function named(event) {
  return [`${event}_event`, `${event}$event`].find((name) => name in definitions());
}

function published() {
  return require("@octokit/webhooks-examples/api.github.com/index.json");
}

// The published schema of each event that has examples, with what it refers to.
function schemas() {
  return published().map(({ name }) => {
    const root = named(name);
    const used = Object.fromEntries([...reached(root)].map((used) => [used, definitions()[used]]));
    const schema = { $schema: "http://json-schema.org/draft-07/schema#", $ref: `#/definitions/${root}`, definitions: used };
    return { event: name, schema };
  });
}

let ajv;

// The judge of an event's payloads.
function judge(event) {
  if (ajv === undefined) {
    const { default: Ajv } = require("ajv");
    ajv = new Ajv({ strict: false, validateSchema: false, inlineRefs: false, code: { optimize: false } });
    require("ajv-formats").default(ajv);
    ajv.addSchema(require("@octokit/webhooks-schemas/schema.json"), "github");
  }
  return ajv.getSchema(`github#/definitions/${named(event)}`);
}

// The published examples of an event, each followed by `mutations` bodies made of it, with the judgement of ajv.
function examples({ event, mutations, seed }) {
  const valid = judge(event);
  const random = generator(seed);
  const bodies = [];
  for (const example of published().find(({ name }) => name === event).examples) {
    bodies.push({ body: JSON.stringify(example), valid: valid(example), mutation: null });
    for (let number = 0; number < mutations; number++) {
      const changed = JSON.parse(JSON.stringify(example));
      const mutation = mutate(changed, random);
      bodies.push({ body: JSON.stringify(changed), valid: valid(changed), mutation });
    }
  }
  return bodies;
}

// A repeatable sequence of numbers from 0 to 1 (mulberry32).
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

// Changes one thing somewhere in an object, and says what.
function mutate(root, random) {
  const pick = (list) => list[Math.floor(random() * list.length)];
  let [place, at] = [root, ""];
  for (;;) {
    const nested = Object.keys(place).filter((key) => place[key] !== null && typeof place[key] === "object" && Object.keys(place[key]).length > 0);
    if (nested.length === 0 || random() < 0.4) break;
    const key = pick(nested);
    [place, at] = [place[key], `${at}/${key}`];
  }
  const key = pick(Object.keys(place));
  const kind = pick(["remove", "retype", "add", "null"]);
  if (kind === "remove") {
    if (Array.isArray(place)) place.splice(Number(key), 1);
    else delete place[key];
  } else if (kind === "retype") place[key] = typeof place[key] === "string" ? 7 : "seven";
  else if (kind === "null") place[key] = null;
  else if (Array.isArray(place)) place.push(7);
  else place.not_in_the_schema = 7;
  return `${kind} ${at}/${key}`;
}

for await (const line of createInterface({ input: process.stdin })) {
  const question = JSON.parse(line);
  const sdk = sdks[question.sdk];
  let answer;
  if (question.ask === "verify") {
    try {
      await sdk.verify(question);
      answer = { verified: true };
    } catch (error) {
      answer = { verified: false, why: String(error) };
    }
  } else {
    answer = await sdk[question.ask](question);
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
