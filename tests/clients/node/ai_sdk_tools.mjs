// Vercel's `ai`, where it calls tools.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { tell, url } from "./cases.mjs";

const hydra = createOpenAICompatible({ name: "hydra", baseURL: url, apiKey: "none" });
const asked = { model: hydra("hydra"), providerOptions: { hydra: { user: "ann" } } };
const weather = tool({
  description: "Says how warm a city is.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `21 degrees in ${city}`,
});

await tell({
  // The SDK calls the tool itself and sends its result back.
  tools: async () => {
    const prompt = "AI SDK, how warm is Paris?";
    const { text, steps } = await generateText({ ...asked, prompt, tools: { weather }, stopWhen: stepCountIs(2) });
    return { text, calls: steps[0].toolCalls.map(({ toolName, input }) => ({ toolName, input })) };
  },

  streamedTools: async () => {
    const prompt = "AI SDK, how warm is it there?";
    const stream = streamText({ ...asked, prompt, tools: { weather }, stopWhen: stepCountIs(2) });
    return await stream.text;
  },
});
