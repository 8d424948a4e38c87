"""The endpoint as HTTP has it: what requests hold and who they are from, errors, middleware, OpenAI's forms."""
