// The `openai` package for Node.

import OpenAI from "openai";
import { said, tell, url } from "./cases.mjs";

const client = new OpenAI({ baseURL: url, apiKey: "none" });

async function raised(request) {
  try {
    await client.chat.completions.create(request);
  } catch (error) {
    const { status, type, param, code } = error;
    return [error.constructor.name, status, type, param, code];
  }
}

await tell({
  whole: () => client.chat.completions.create({ model: "hydra", user: "ann", messages: said("Node?") }),

  streamed: async () => {
    const stream = await client.chat.completions.create({
      model: "hydra",
      user: "ann",
      messages: said("Node stream?"),
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    return chunks;
  },

  // The helper that puts a stream together; it wants chunks as OpenAI has them.
  accumulated: async () => {
    const stream = client.chat.completions.stream({ model: "hydra", user: "ann", messages: said("Node helper?") });
    return await stream.finalChatCompletion();
  },

  byAnotherMethod: () =>
    client.chat.completions.create({
      model: "hydra",
      user: "ann",
      messages: said("Node, by rag?"),
      hydra: { method: "rag" },
    }),

  models: async () => {
    const listed = [];
    for await (const model of client.models.list()) listed.push(model.id);
    return { listed, one: (await client.models.retrieve("hydra")).id };
  },

  errors: async () => ({
    noSuchModel: await raised({ model: "gpt", messages: said("x") }),
    noMessages: await raised({ model: "hydra", messages: [] }),
  }),

  askedAgain: async () => {
    const reply = await client.chat.completions.create({ model: "hydra", messages: said("Node, are you (busy)?") });
    return reply.choices[0].message.content;
  },
});
