// Vercel's `ai` with `@ai-sdk/openai-compatible`.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, streamText } from "ai";
import { z } from "zod";
import { tell, url } from "./cases.mjs";

const hydra = createOpenAICompatible({
  name: "hydra",
  baseURL: url,
  apiKey: "none",
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const model = hydra("hydra");
// Fields that are not the SDK's own go to the endpoint as they are, under the provider's name.
const providerOptions = { hydra: { user: "ann" } };

await tell({
  generated: async () => {
    const { text, finishReason, usage, response, warnings } = await generateText({
      model,
      providerOptions,
      prompt: "AI SDK?",
    });
    return { text, finishReason, usage, warnings, hydra: response.body.hydra };
  },

  streamed: async () => {
    const stream = streamText({ model, providerOptions, prompt: "AI SDK stream?" });
    const pieces = [];
    for await (const piece of stream.textStream) pieces.push(piece);
    return { pieces, finishReason: await stream.finishReason, usage: await stream.usage };
  },

  conversed: async () => {
    const { text } = await generateText({
      model,
      providerOptions,
      system: "Be brief.",
      messages: [
        { role: "user", content: "AI SDK, one?" },
        { role: "assistant", content: "Yes." },
        { role: "user", content: [{ type: "text", text: "AI SDK, two?" }] },
      ],
    });
    return text;
  },

  object: async () => {
    const schema = z.object({ city: z.string(), degrees: z.number() });
    const prompt = "AI SDK, an object?";
    return (await generateText({ model, providerOptions, prompt, output: Output.object({ schema }) })).output;
  },

  errors: async () => {
    try {
      await generateText({ model: hydra("gpt"), prompt: "x" });
    } catch (error) {
      return { name: error.name, status: error.statusCode, message: error.message, again: error.isRetryable };
    }
  },

  askedAgain: async () => (await generateText({ model, prompt: "AI SDK, are you (busy)?" })).text,
});
