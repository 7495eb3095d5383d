// The official `openai` npm package, unmodified: whole and streamed replies, tools, feedback with fetch.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const url = process.env.NOCK_URL ?? "http://127.0.0.1:8000";
const keys = JSON.parse(readFileSync(`${process.env.NOCK_HOME ?? ".nock"}/keys.json`, "utf8"));

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: keys.chat });
const agent = { model: "demo", user: `customer-${randomUUID()}`, max_tokens: 24 };
const parameters = { type: "object", properties: { number: { type: "string" } }, required: ["number"] };
const tools = [{ type: "function", function: { name: "find_parcel", description: "Where a parcel is", parameters } }];

const messages = [{ role: "user", content: "Hello! Who are you?" }];
const reply = await client.chat.completions.create({ ...agent, messages });
console.log("whole:", reply.id, reply.choices[0].message.content);

// The engine that comes along calls no tools, so "none"; leave `tool_choice` out where your engine does.
messages.push(reply.choices[0].message, { role: "user", content: "Where is my parcel?" });
const stream = await client.chat.completions.create({ ...agent, messages, tools, tool_choice: "none", stream: true });
let turn = "";
let text = "";
for await (const chunk of stream) {
  turn = chunk.id;
  text += chunk.choices[0]?.delta?.content ?? "";
}
console.log("streamed:", turn, text);

const told = await call("feedback", "POST", "/feedback", { turn_id: turn, value: 1.0, source: "example" });
console.log("feedback:", told.state, told.consequence);

const kept = await call("chat", "GET", `/conversations/${told.conversation_id}`);
assert.deepEqual(kept.turns.map((each) => each.turn_id), [reply.id, turn]);
assert.equal(kept.turns[1].reply.content, text);
console.log("one conversation:", kept.conversation_id);

async function call(scope, method, path, body) {
  const headers = { Authorization: `Bearer ${keys[scope]}`, "Content-Type": "application/json" };
  const answer = await fetch(url + path, { method, headers, body: JSON.stringify(body) });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.json();
}
