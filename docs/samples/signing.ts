// Signs commands (docs/PROTOCOL.md §7); Node 22.18 or later runs it as it is.
//   node signing.ts KEY_ID PRIVATE_KEY < command.json        prints the command with its signature; PRIVATE_KEY is 32 bytes in base64
import { createPrivateKey, sign as signBytes } from "node:crypto";
import { readFileSync } from "node:fs";

export interface Command {
  command_id: string; command_type: string; payload?: object; priority?: string | null; timestamp?: string | null; expires_at?: string | null;
}
export interface Signature { key_id: string; value: string }

const SIGNED: (keyof Command)[] = ["command_id", "command_type", "payload", "priority", "timestamp", "expires_at"];
const PKCS8 = "302e020100300506032b657004220420"; // what stands before the 32 bytes of an Ed25519 key in this form

/** RFC 8785: without spaces, names in the order of their UTF-16 code units, numbers and strings as JSON.stringify writes them. */
function jcs(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(jcs).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const members = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
  return `{${members.map(([name, inner]) => `${JSON.stringify(name)}:${jcs(inner)}`).join(",")}}`;
}

/** What is signed: these members as they are sent, without those that are absent or null; without a payload it is {}. */
export function canonical(command: Command): string {
  const present = SIGNED.filter((name) => command[name] !== undefined && command[name] !== null);
  return jcs({ payload: {}, ...Object.fromEntries(present.map((name) => [name, command[name]])) });
}

/** The command with its signature. */
export function sign<C extends Command>(command: C, keyId: string, privateKey: string): C & { signature: Signature } {
  const der = Buffer.concat([Buffer.from(PKCS8, "hex"), Buffer.from(privateKey, "base64")]);
  const value = signBytes(null, Buffer.from(canonical(command)), createPrivateKey({ key: der, format: "der", type: "pkcs8" }));
  return { ...command, signature: { key_id: keyId, value: value.toString("base64") } };
}

if (process.argv[1]?.match(/signing\.m?[jt]s$/)) {
  console.log(JSON.stringify(sign(JSON.parse(readFileSync(0, "utf8")), process.argv[2]!, process.argv[3]!)));
}
