// A second reader and writer of the encenv wire format, version 1, written from FORMAT.md alone.
//
// It shares no code with the Python package: if the two agree, the specification is what they agree on. Section
// numbers in the comments are those of FORMAT.md. Of the key providers it has `local`; others are unknown to it and
// skipped (section 8).
//
//   node encenv.mjs open   {"localKeys": text, "variables": {NAME: text}}
//                       -> {"values": {NAME: base64}, "errors": {NAME: why}}
//   node encenv.mjs seal   {"localKeys": text, "context": {key: value}, "values": {NAME: base64}}
//                       -> {"variables": {NAME: text}, "errors": {NAME: why}}     or {"error": why} without a key entry
//
// JSON on stdin, JSON on stdout. A list of requests gives the list of their answers: one process serves many.

import { createCipheriv, createDecipheriv, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";

const MAX_SEALED_CHARACTERS = 1_048_576;
const MAX_ENTRY_CHARACTERS = 32_768;
const MAX_CONTEXT_ITEMS = 7;
const MAX_ITEMS = 16;
const MAX_DATA_KEYS = 32;
const MIN_PAYLOAD_BYTES = 12 + 1 + 16;

/** A refusal whose text may be shown: it holds no plaintext, no key and no part of one. */
class Refused extends Error {}

function demand(condition, reason) {
  if (!condition) throw new Refused(reason);
}

// ---- 2. Notation ----------------------------------------------------------------------------------------------------

const encodeB64 = (bytes) => bytes.toString("base64url");

function decodeB64(text) {
  // Node's decoder forgives nearly everything; comparing the round trip is the strictness that section 2 asks for.
  const bytes = Buffer.from(text, "base64url");
  demand(encodeB64(bytes) === text, "not canonical base64");
  return bytes;
}

/** Five bytes to eight characters. Forty bits fit a double exactly, so plain arithmetic does. */
function base32(fiveBytes) {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  let number = fiveBytes.readUIntBE(0, 5);
  let text = "";
  for (let i = 0; i < 8; i++) {
    text = alphabet[number % 32] + text;
    number = Math.floor(number / 32);
  }
  return text;
}

const hmac = (key, data) => createHmac("sha256", key).update(data).digest();

function hkdf(secret, info) {
  const pseudoRandomKey = hmac(Buffer.alloc(32), secret);
  return hmac(pseudoRandomKey, Buffer.concat([Buffer.from(info, "ascii"), Buffer.of(1)]));
}

/** nonce || ciphertext || tag under a fresh random nonce. */
function gcmEncrypt(key, plaintext, aad) {
  const nonce = randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", key, nonce, { authTagLength: 16 }).setAAD(aad);
  return Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

/** The plaintext, or null: callers must not learn, and cannot tell, why it failed. */
function gcmDecrypt(key, sealed, aad) {
  const decipher = createDecipheriv("aes-256-gcm", key, sealed.subarray(0, 12), { authTagLength: 16 });
  decipher.setAAD(aad).setAuthTag(sealed.subarray(-16));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()]);
  } catch {
    return null;
  }
}

/**
 * The bytes of a text that arrived as JSON (4.1, "Value bytes"): UTF-8, where a lone U+DC80..U+DCFF stands for one
 * byte that is not UTF-8. With the `u` flag a surrogate class matches lone surrogates only, never half of a pair.
 */
function toBytes(text) {
  const parts = text.split(/([\udc80-\udcff])/u).map((part, index) => {
    if (index % 2) return Buffer.of(part.charCodeAt(0) - 0xdc00);
    demand(part.isWellFormed(), "a lone surrogate stands for no byte");
    return Buffer.from(part, "utf8");
  });
  return Buffer.concat(parts);
}

// ---- 3. Data key ----------------------------------------------------------------------------------------------------

const commitmentOf = (dataKey) => hkdf(dataKey, "encenv:1:commitment");
const kidOf = (commitment) => base32(commitment.subarray(0, 5));

// ---- 4. Sealed value ------------------------------------------------------------------------------------------------

const SEALED = /^encenv:1:([A-Z2-7]{8}):([A-Za-z0-9_-]*)$/;

function parseSealed(text) {
  const version = /^encenv:([1-9][0-9]*):/.exec(text);
  demand(!version || version[1] === "1", "made by a newer encenv");
  demand(text.length <= MAX_SEALED_CHARACTERS, "sealed value too long");
  const match = SEALED.exec(text);
  demand(match, "malformed sealed value");
  const payload = decodeB64(match[2]);
  demand(payload.length >= MIN_PAYLOAD_BYTES, "sealed value too short");
  return { kid: match[1], payload };
}

function valueAad(kid, name) {
  const bytes = toBytes(name);
  demand(bytes.length > 0 && !bytes.includes(0x3d) && !bytes.includes(0), "not a variable name");
  // upper() folds ASCII letters alone; toUpperCase() would follow Unicode and bind another name.
  const upper = bytes.map((byte) => (byte >= 0x61 && byte <= 0x7a ? byte - 0x20 : byte));
  return Buffer.concat([Buffer.from(`encenv:1:${kid}:`), upper]);
}

function sealValue(dataKey, name, value) {
  demand(!ENTRY_NAME.test(name), "this name is reserved for key entries");
  demand(!value.includes(0), "the value holds 0x00");
  const text = value.toString("latin1"); // one character a byte: the patterns of section 7 are ASCII
  demand(!isClaimed(text) && !isEmbedding(text), "the value already holds a sealed value");
  const kid = kidOf(commitmentOf(dataKey));
  // The smallest multiple of 8 that has room for the mark.
  const padded = Buffer.alloc(8 * Math.floor(value.length / 8) + 8);
  value.copy(padded);
  padded[value.length] = 0x80;
  const payload = gcmEncrypt(hkdf(dataKey, "encenv:1:value"), padded, valueAad(kid, name));
  const sealed = `encenv:1:${kid}:${encodeB64(payload)}`;
  demand(sealed.length <= MAX_SEALED_CHARACTERS, "the value is too long");
  return sealed;
}

function openValue(dataKey, name, { kid, payload }) {
  const padded = gcmDecrypt(hkdf(dataKey, "encenv:1:value"), payload, valueAad(kid, name));
  let end = padded === null ? 0 : padded.length;
  while (end > 0 && padded[end - 1] === 0) end--;
  // One answer for a wrong tag, a missing mark and a zero inside (4.2): whoever probes learns nothing from the error.
  const good = end > 0 && padded[end - 1] === 0x80 && !padded.subarray(0, end - 1).includes(0);
  demand(good, "does not authenticate");
  return padded.subarray(0, end - 1);
}

// ---- 5. Key entry ---------------------------------------------------------------------------------------------------

const ENTRY_NAME = /^ENCENV_KEY_([A-Z2-7]{8})$/;
const CONTEXT_ITEM = /^context:([A-Za-z0-9_.:/-]{1,128})=([A-Za-z0-9_.:/-]{1,384})$/;
const KEY_ITEM = /^([a-z][a-z0-9-]{0,31}):([A-Za-z0-9_-]+):([A-Za-z0-9_.:/-]{1,512})$/;
const KMS_ARN = /^arn:(aws|aws-[a-z0-9-]+):kms:(([a-z]+-){2,3}[0-9]+):([0-9]{12}):key\/([A-Za-z0-9-]{1,128})$/;

/** Section 5.1, step by step. It asks no key and no network. */
function parseEntry(kid, text) {
  demand(text.length <= MAX_ENTRY_CHARACTERS, "key entry too long");
  const version = /^([1-9][0-9]*):/.exec(text);
  demand(version, "malformed key entry");
  demand(version[1] === "1", "key entry made by a newer encenv");
  const [head, ...parts] = text.slice(2).split("+");
  const commitment = decodeB64(head);
  demand(commitment.length === 32, "the commitment is not 32 bytes");
  demand(kidOf(commitment) === kid, "the commitment is not that of the name");

  const context = [];
  while (parts.length && parts[0].startsWith("context:")) context.push(parseContextItem(parts.shift()));
  demand(context.length <= MAX_CONTEXT_ITEMS, "too many context items");
  // Keys are ASCII by the grammar, so toLowerCase() folds ASCII and nothing else.
  demand(new Set(context.map(([key]) => key.toLowerCase())).size === context.length, "a context key twice");

  demand(parts.length >= 1 && parts.length <= MAX_ITEMS, "no wrapped copy, or too many");
  const items = parts.map(parseKeyItem); // a late context item fails here: `=` is not in the grammar of these
  const identities = new Set(items.map((item) => `${item.provider}:${item.reference}`));
  demand(identities.size === items.length, "a wrapping key twice");
  return { commitment, context, items };
}

function parseContextItem(part) {
  const match = CONTEXT_ITEM.exec(part);
  demand(match, "malformed context item");
  const [, key, value] = match;
  const reserved = /^(encenv|aws:)/i.test(key);
  demand(!reserved || (key === "encenv-add" && value === "1"), "a reserved context key");
  return [key, value];
}

function parseKeyItem(part) {
  const match = KEY_ITEM.exec(part);
  demand(match && match[1] !== "context", "malformed item");
  const [, provider, , reference] = match;
  const wrapped = decodeB64(match[2]);
  // Both providers of 5.2 are checked, whether or not this reader could use them.
  if (provider === "local") demand(wrapped.length === 60 && /^[A-Z2-7]{8}$/.test(reference), "malformed local item");
  if (provider === "aws-kms") demand(wrapped.length <= 6144 && KMS_ARN.test(reference), "malformed aws-kms item");
  return { provider, wrapped, reference };
}

function makeEntry(dataKey, context, wrappingKey) {
  const commitment = commitmentOf(dataKey);
  const kid = kidOf(commitment);
  const pairs = Object.entries(context).sort(([a], [b]) => (a < b ? -1 : 1));
  const contextItems = pairs.map(([key, value]) => `+context:${key}=${value}`).join("");
  const wrapped = encodeB64(localWrap(wrappingKey, dataKey, pairs));
  const text = `1:${encodeB64(commitment)}${contextItems}+local:${wrapped}:${wrappingKey.id}`;
  parseEntry(kid, text); // a writer writes only what a reader accepts
  return [`ENCENV_KEY_${kid}`, text];
}

// ---- 6.1 The local provider -----------------------------------------------------------------------------------------

function parseLocalKeys(text) {
  // "White space" is read narrowly, as space and tab: trim() would also drop what another language keeps (U+FEFF).
  const lines = text.split(/\r\n|\r|\n/).map((line) => line.replace(/^[ \t]+|[ \t]+$/g, ""));
  return lines.filter((line) => line && !line.startsWith("#")).map((line) => {
    const match = /^encenv-local-key:1:([A-Za-z0-9_-]+)$/.exec(line);
    demand(match, "not a local key"); // the line itself may be a secret: never quoted
    const secret = decodeB64(match[1]);
    demand(secret.length === 32, "not a local key");
    const id = base32(hkdf(secret, "encenv:1:local-id").subarray(0, 5));
    return { id, wrapKey: hkdf(secret, "encenv:1:local-wrap") };
  });
}

function localAad(context) {
  // Whole strings are sorted, so `a-b=1` precedes `a=1` (5.3). All is ASCII: the default order is that of the bytes.
  const canonical = [["encenv", "1"], ...context].map(([key, value]) => `${key}=${value}`).sort().join(",");
  return Buffer.from(`encenv:1:local:${canonical}`);
}

const localWrap = (key, dataKey, context) => gcmEncrypt(key.wrapKey, dataKey, localAad(context));
const localUnwrap = (key, wrapped, context) => gcmDecrypt(key.wrapKey, wrapped, localAad(context));

// ---- 7. Recognition -------------------------------------------------------------------------------------------------

const isClaimed = (text) => /^encenv:[0-9]/.test(text);
const isEmbedding = (text) => /encenv:[0-9]+:[A-Z2-7]{8}:/.test(text);

// ---- 8. From a value to its data key --------------------------------------------------------------------------------

/** K, confirmed by the commitment; a K that was not confirmed never leaves this function. */
function unwrapEntry(entry, localKeys) {
  for (const item of entry.items) {
    if (item.provider !== "local") continue;
    for (const key of localKeys.filter(({ id }) => id === item.reference)) {
      const dataKey = localUnwrap(key, item.wrapped, entry.context);
      if (dataKey?.length === 32 && timingSafeEqual(commitmentOf(dataKey), entry.commitment)) return dataKey;
    }
  }
  throw new Refused("no wrapped copy could be unwrapped");
}

/** The variables are one source, so a KID has one entry and there is nothing to merge (8, step 3). */
function open({ localKeys: localKeyText, variables }) {
  const values = [];
  const errors = [];
  const attempt = (name, action) => {
    try {
      return action();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      errors.push([name, error.message]);
    }
  };

  const sealed = [];
  for (const [name, text] of Object.entries(variables)) {
    if (ENTRY_NAME.test(name)) continue;
    attempt(name, () => {
      if (isClaimed(text)) return sealed.push([name, parseSealed(text)]);
      demand(!isEmbedding(text), "a sealed value inside other text");
      values.push([name, toBytes(text)]);
    });
  }

  // Only the entries that a value needs are parsed, and all of those before the first unwrap.
  const once = (action) => {
    try {
      const result = action();
      return () => result;
    } catch (error) {
      return () => { throw error; };
    }
  };
  const entries = new Map();
  for (const kid of new Set(sealed.map(([, { kid }]) => kid))) {
    const text = variables[`ENCENV_KEY_${kid}`];
    entries.set(kid, once(() => {
      demand(text !== undefined, `there is no key entry ENCENV_KEY_${kid}`);
      return parseEntry(kid, text);
    }));
  }
  const tooMany = entries.size > MAX_DATA_KEYS;
  const keys = once(() => parseLocalKeys(localKeyText));
  const dataKeys = new Map();
  for (const [kid, entry] of entries) {
    dataKeys.set(kid, once(() => {
      demand(!tooMany, "too many data keys");
      return unwrapEntry(entry(), keys());
    }));
  }
  for (const [name, parsed] of sealed) {
    attempt(name, () => values.push([name, openValue(dataKeys.get(parsed.kid)(), name, parsed)]));
  }

  // fromEntries defines own properties, so even a variable named `__proto__` is one.
  const encoded = values.map(([name, bytes]) => [name, bytes.toString("base64")]);
  return { values: Object.fromEntries(encoded), errors: Object.fromEntries(errors) };
}

function seal({ localKeys, context, values }) {
  const dataKey = randomBytes(32); // always a new one: never under a key someone else may have planted (11)
  const variables = [];
  const errors = [];
  try {
    const [wrappingKey] = parseLocalKeys(localKeys);
    demand(wrappingKey, "there is no local key");
    variables.push(makeEntry(dataKey, context, wrappingKey));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { error: error.message };
  }
  for (const [name, base64] of Object.entries(values)) {
    try {
      variables.push([name, sealValue(dataKey, name, Buffer.from(base64, "base64"))]);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      errors.push([name, error.message]);
    }
  }
  return { variables: Object.fromEntries(variables), errors: Object.fromEntries(errors) };
}

const command = { open, seal }[process.argv[2]];
if (!command) {
  process.stderr.write("usage: node encenv.mjs open|seal < request.json\n");
  process.exit(2);
}
const request = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(Array.isArray(request) ? request.map(command) : command(request)) + "\n");
