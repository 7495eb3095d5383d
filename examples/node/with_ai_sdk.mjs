// The Vercel AI SDK with its provider for OpenAI-compatible services: generateText, streamText, a tool, feedback.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText, tool } from "ai";
import { z } from "zod";

const url = process.env.NOCK_URL ?? "http://127.0.0.1:8000";
const keys = JSON.parse(readFileSync(`${process.env.NOCK_HOME ?? ".nock"}/keys.json`, "utf8"));

const nock = createOpenAICompatible({ name: "nock", baseURL: `${url}/v1`, apiKey: keys.chat });
const agent = {
  model: nock.chatModel("demo"),
  maxOutputTokens: 24,
  providerOptions: { nock: { user: `customer-${randomUUID()}` } },
};
const tools = {
  find_parcel: tool({
    description: "Where a parcel is",
    inputSchema: z.object({ number: z.string() }),
    execute: async ({ number }) => `${number} is on its way`,
  }),
};

const messages = [{ role: "user", content: "Hello! Who are you?" }];
const reply = await generateText({ ...agent, messages });
console.log("whole:", reply.response.id, reply.text);

// The engine that comes along calls no tools, so "none"; leave `toolChoice` out where your engine does.
messages.push(...reply.response.messages, { role: "user", content: "Where is my parcel?" });
const streamed = streamText({ ...agent, messages, tools, toolChoice: "none" });
let text = "";
for await (const part of streamed.textStream) text += part;
const turn = (await streamed.response).id;
console.log("streamed:", turn, text);

const told = await call("feedback", "POST", "/feedback", { turn_id: turn, value: 1.0, source: "example" });
console.log("feedback:", told.state, told.consequence);

const kept = await call("chat", "GET", `/conversations/${told.conversation_id}`);
assert.deepEqual(kept.turns.map((each) => each.turn_id), [reply.response.id, turn]);
assert.equal(kept.turns[1].reply.content, text);
console.log("one conversation:", kept.conversation_id);

async function call(scope, method, path, body) {
  const headers = { Authorization: `Bearer ${keys[scope]}`, "Content-Type": "application/json" };
  const answer = await fetch(url + path, { method, headers, body: JSON.stringify(body) });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.json();
}
